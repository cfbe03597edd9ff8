"""The cgroups of one host: the truth about what runs there.

Two directories belong to an instance. `<scope>_<host>/<instance>` holds its container, made by crun in
every hierarchy. `<scope>_<host>.launch/<instance>` holds its launcher, from before crun is executed: when
crun dies half way, what it left behind is found in one of the two. The launching one is made in the pids
hierarchy only, so that an instance costs one memory cgroup, not two.
"""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from runtime.cgroup import adjust
from runtime.cgroup.burners import Burners
from runtime.cgroup.devices import Device, disks_under
from runtime.cgroup.layout import WANTED_V2, Layout, Version, layout_in
from runtime.cgroup.limits import scope_weight
from runtime.cgroup.meter import Meter
from runtime.cgroup.readings import stands_still
from runtime.config import HostConfig
from runtime.errors import HostError
from runtime.ids import check_instance_id, is_instance_id
from runtime.units import Limits

KILL_SECONDS = 10.0
REMOVE_SECONDS = 3.0
_PAUSE_SECONDS = 0.002
# Version 1: the trees in which an instance's limits and its freezer are.
_WITH_LIMITS = frozenset({"cpu", "cpuacct", "memory", "pids", "freezer", "devices", "blkio"})


class Cgroups:
    """The cgroups of one host and scope."""

    def __init__(self, config: HostConfig, layout: Layout) -> None:
        self.layout = layout
        self._state_dir = config.state_dir
        self._scope = f"{config.scope}_{config.name}"
        self._launching = f"{self._scope}.launch"
        self._pids_root = layout.roots["pids"]

    @classmethod
    def detect(cls, config: HostConfig) -> "Cgroups":
        """Cgroups as this machine mounts them; HostUnfitError names what is missing."""
        return cls(config, layout_in(Path("/proc/self/mounts").read_text()))

    def oci_path(self, instance_id: str) -> str:
        """Return the cgroupsPath for crun."""
        return f"/{self._scope}/{check_instance_id(instance_id)}"

    def enter(self, instance_id: str) -> None:
        """Put the calling process into the instance's launching cgroup, made here if needed.

        Whoever executes crun calls this first; what it leaves behind is then found by pids().
        The caller has one thread: a process forked for this start.
        """
        self._ensure_scope()
        place = self._pids_root / self._launching / check_instance_id(instance_id)
        place.mkdir(parents=True, exist_ok=True)
        # One thread that moves itself needs no lock over all processes of the machine, which costs an
        # RCU grace period: 0.3 ms by `tasks`, 6 to 18 ms by `cgroup.procs`. Version 2 has no such door.
        door = "tasks" if self.layout.version is Version.V1 else "cgroup.procs"
        (place / door).write_text("0")

    def leave(self, instance_id: str) -> None:
        """Remove the launching cgroup once the launcher has ended; no-op if it is not empty yet."""
        try:
            (self._pids_root / self._launching / check_instance_id(instance_id)).rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EBUSY}:
                raise

    def pids(self, instance_id: str) -> tuple[int, ...]:
        """Return every process of an instance, its launcher included; () when there is none."""
        check_instance_id(instance_id)
        found: set[int] = set()
        for place in self._places(instance_id):
            for directory in _tree(place):
                found.update(_processes(directory))
        return tuple(sorted(found))

    def holds(self, instance_id: str, pid: int) -> bool:
        """Return whether a process is in the instance's cgroup at every limit; True if it has ended."""
        try:
            # Not by Path: thousands are looked at again and again.
            fd = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            lines = os.read(fd, 16384).decode().splitlines()
        except ProcessLookupError:
            return True
        finally:
            os.close(fd)
        place = f"/{self._scope}/{instance_id}"
        for line in lines:
            _number, controllers, path = line.split(":", 2)
            is_ours = (
                not _WITH_LIMITS.isdisjoint(controllers.split(","))
                if self.layout.version is Version.V1
                else controllers == ""
            )
            if is_ours and not path.endswith(place):
                return False
        return True

    def take_back(self, instance_id: str, pid: int) -> bool:
        """Put a container's processes back into its cgroups, where somebody took them out of these.

        pid: its first process. False when the cgroups themselves are gone, and with them the limits.
        """
        places = [
            tree / self._scope / check_instance_id(instance_id) / "cgroup.procs"
            for tree in self.layout.hierarchies
        ]
        if not all(place.exists() for place in places):
            return False
        done: set[int] = set()
        # New processes are where those are that made them: repeated until no new ones are found.
        while found := set(_namespace_members(pid)) - done:
            for place in places:
                for member in found:
                    _try_write(str(place), str(member), gone=frozenset({errno.ESRCH}))
            done |= found
        return True

    def cpu_nanos(self, instance_id: str) -> int:
        """Processor time of an instance's cgroup so far; 0 when it has none."""
        root = self.layout.roots["cpuacct" if self.layout.version is Version.V1 else "cpu"]
        place = root / self._scope / check_instance_id(instance_id)
        try:
            if self.layout.version is Version.V1:
                return int((place / "cpuacct.usage").read_text())
            return int((place / "cpu.stat").read_text().split()[1]) * 1000
        except (OSError, ValueError, IndexError):
            return 0

    def kill(self, instance_id: str, *, deadline_seconds: float = KILL_SECONDS) -> None:
        """End every process of an instance with SIGKILL and wait until none is left.

        A caller inside the instance's launching cgroup is spared. Raises HostError at the deadline.
        """
        deadline = time.monotonic() + deadline_seconds
        while left := self.kill_once(instance_id):
            if time.monotonic() > deadline:
                raise HostError(
                    f"{instance_id} still has processes {left[:5]} {deadline_seconds:g} s after SIGKILL",
                    pids=left,
                )
            time.sleep(_PAUSE_SECONDS)

    def kill_once(self, instance_id: str) -> tuple[int, ...]:
        """Send SIGKILL to every process of an instance, without waiting; those that were there.

        A caller inside the instance's launching cgroup is spared.
        """
        left = tuple(pid for pid in self.pids(instance_id) if pid != os.getpid())
        if left:
            self._stop_forking(instance_id)
            # A frozen process takes no signal, not even this one, until it is thawed.
            self._thaw(instance_id)
            self._signal(instance_id, left)
        return left

    def freeze_once(self, instance_id: str) -> bool:
        """Ask every process of an instance to stand still, without waiting; whether all do by now.

        True where it has no cgroup. A process that waits in the kernel may never come to stand still.
        """
        top = self._freezer(instance_id)
        names = ("cgroup.freeze", "1", "cgroup.events")
        if self.layout.version is Version.V1:
            names = ("freezer.state", "FROZEN", "freezer.state")
        switch, asked, shown = names
        if not Path(top, switch).exists():
            return True
        _try_write(f"{top}/{switch}", asked)
        return stands_still(Path(top, shown).read_text())

    def is_frozen(self, instance_id: str) -> bool:
        """Return whether every process of an instance stands still by its cgroup's freezer."""
        top = self._freezer(instance_id)
        shown = "freezer.state" if self.layout.version is Version.V1 else "cgroup.events"
        try:
            return stands_still(Path(top, shown).read_text())
        except OSError:
            return False

    def thaw(self, instance_id: str) -> None:
        """Let all that stood still go on; no-op if nothing does."""
        check_instance_id(instance_id)
        self._thaw(instance_id)

    def remove(self, instance_id: str, *, deadline_seconds: float = REMOVE_SECONDS) -> None:
        """Remove an instance's cgroups in every hierarchy; no-op if there are none.

        The kernel calls a cgroup busy for a moment after its last process ended, hence the deadline.
        Raises HostError when something is left after it.
        """
        check_instance_id(instance_id)
        deadline = time.monotonic() + deadline_seconds
        for hierarchy in self.layout.hierarchies:
            for parent in (self._scope, self._launching):
                self._remove_tree(hierarchy / parent / instance_id, deadline)

    def instances(self) -> tuple[str, ...]:
        """Return every instance that has a cgroup in any hierarchy, ordered by id."""
        found: set[str] = set()
        for hierarchy in self.layout.hierarchies:
            for parent in (self._scope, self._launching):
                found.update(_subdirectories(f"{hierarchy}/{parent}"))
        return tuple(sorted(filter(is_instance_id, found)))

    def meter(self, *, keep_open: int | None = None) -> Meter:
        """Return a reader for the usage of many instances, which is read again and again; see Meter."""
        roots = self.layout.roots
        places = {name: f"{root}/{self._scope}" for name, root in roots.items()}
        return Meter(self.layout.version, places, keep_open=keep_open)

    def burners(self, shares_of: Callable[[str], int]) -> Burners:
        """Return what finds instances that burn processor time, and lets them wait for the others."""
        return Burners(self.layout, self._scope, shares_of)

    def oom_kills(self, instance_id: str) -> int:
        """Return how many processes of an instance's cgroup the kernel has killed out of memory."""
        return self.meter(keep_open=0).oom_kills(instance_id)

    def set_limits(self, instance_id: str, ceilings: Limits) -> None:
        """Make processor, memory, process and disk traffic limits hold for a running container.

        At a start crun sets the same amounts. LimitInUseError when it uses more memory than it is
        to have; then nothing was changed. HostError when it does not run or the kernel refuses.
        """
        check_instance_id(instance_id)
        try:
            adjust.set_limits(
                instance_id,
                ceilings,
                version=self.layout.version,
                place=lambda part: self.layout.roots[part] / self._scope / instance_id,
                disks=self.io_devices(),
            )
        except OSError as error:
            raise HostError(f"limits of {instance_id} cannot be set: {error}") from error

    def io_devices(self) -> tuple[Device, ...]:
        """Return the disks on which this host can limit reading and writing; () where the kernel cannot."""
        name = "blkio" if self.layout.version is Version.V1 else "io"
        return disks_under(self._state_dir) if name in self.layout.roots else ()

    def remove_scope(self) -> None:
        """End and remove every instance, then the scope's own directories: nothing is left."""
        for instance_id in self.instances():
            self.kill(instance_id)
            self.remove(instance_id)
        deadline = time.monotonic() + REMOVE_SECONDS
        for hierarchy in self.layout.hierarchies:
            for parent in (self._scope, self._launching):
                self._remove_tree(hierarchy / parent, deadline)

    def _places(self, instance_id: str) -> tuple[str, str]:
        root = self._pids_root
        return f"{root}/{self._scope}/{instance_id}", f"{root}/{self._launching}/{instance_id}"

    def _ensure_scope(self) -> None:
        """Version 2 hands controllers down level by level; in both the scope weighs what its cores do."""
        if self.layout.version is Version.V1:
            self._weigh(self.layout.roots["cpu"] / self._scope)
            return
        for directory in (self._pids_root, self._pids_root / self._scope):
            directory.mkdir(exist_ok=True)
            switch = directory / "cgroup.subtree_control"
            offered = set((directory / "cgroup.controllers").read_text().split())
            missing = (offered & set(WANTED_V2)) - set(switch.read_text().split())
            if missing:
                switch.write_text(" ".join(f"+{name}" for name in sorted(missing)))
        self._weigh(self._pids_root / self._scope)

    def _weigh(self, scope: Path) -> None:
        """Let all containers together weigh as much as one busy process of the host on each core.

        Unasked, the kernel lets them weigh as much as one such process on one core: a single backup
        would take half of the machine from all shops.
        """
        write = scope_weight(self.layout.version, os.cpu_count() or 1)
        scope.mkdir(exist_ok=True)
        if (scope / write.file).read_text().strip() != write.value:
            (scope / write.file).write_text(write.value)

    def _stop_forking(self, instance_id: str) -> None:
        """A limit of no processes at all: otherwise a fork bomb could outrun the signals."""
        _try_write(f"{self._places(instance_id)[0]}/pids.max", "0")

    def _freezer(self, instance_id: str) -> str:
        root = self.layout.roots.get("freezer", self._pids_root)
        return f"{root}/{self._scope}/{check_instance_id(instance_id)}"

    def _thaw(self, instance_id: str) -> None:
        if self.layout.version is Version.V2:
            for directory in _tree(self._places(instance_id)[0]):
                _try_write(f"{directory}/cgroup.freeze", "0")
            return
        for directory in _tree(f"{self.layout.roots['freezer']}/{self._scope}/{instance_id}"):
            _try_write(f"{directory}/freezer.state", "THAWED")

    def _signal(self, instance_id: str, pids: tuple[int, ...]) -> None:
        # cgroup.kill (Linux 5.14) takes the whole tree at once; the loop serves the launching cgroup,
        # where our own caller may be, and every kernel without it.
        if self.layout.version is Version.V2:
            _try_write(f"{self._places(instance_id)[0]}/cgroup.kill", "1")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _remove_tree(self, top: Path, deadline: float) -> None:
        for directory in reversed(list(_tree(str(top)))):
            while True:
                try:
                    os.rmdir(directory)  # noqa: PTH106 - a thousand of these are removed at a time
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        busy = _processes(directory)
                        raise HostError(
                            f"cgroup {directory} cannot be removed: {error.strerror};"
                            f" processes in it: {busy[:5] or 'none'}"
                        ) from error
                    time.sleep(_PAUSE_SECONDS)


def _tree(top: str) -> Iterator[str]:
    """Yield a directory and everything below it, parents first; nothing when it does not exist."""
    yield top
    for name in _subdirectories(top):
        yield from _tree(f"{top}/{name}")


def _subdirectories(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _processes(directory: str) -> list[int]:
    """Return the processes directly in a cgroup; the kernel gives a long list in several reads."""
    try:
        return [int(word) for word in Path(directory, "cgroup.procs").read_text().split()]
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV}:
            return []
        raise


def _namespace_members(pid: int) -> list[int]:
    """Return every process in the pid namespace of a process."""
    try:
        space = os.stat(f"/proc/{pid}/ns/pid").st_ino  # noqa: PTH116 - one for each process
    except OSError:
        return []
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with suppress(OSError):
                if os.stat(f"/proc/{name}/ns/pid").st_ino == space:  # noqa: PTH116
                    found.append(int(name))
    return found


def _try_write(path: str, value: str, *, gone: frozenset[int] = frozenset()) -> None:
    """Write a switch that this kernel may not have, or whose cgroup may just have gone."""
    try:
        Path(path).write_text(value)
    except (FileNotFoundError, OSError) as error:
        if error.errno not in {errno.ENOENT, errno.ENODEV, errno.EBUSY, errno.EINVAL, *gone}:
            raise
