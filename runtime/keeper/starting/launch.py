"""One start of one container, in a process forked for it from the keeper.

Everything slow happens here, so starts run beside each other and the keeper stays quick. The process
puts itself into the instance's cgroup first: whatever becomes of it, what it started is found there.
It ends with the start, and with it the mounts it needed; the container stays, as the keeper's child.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime import network, rootfs
from runtime.bundle import (
    IDS_PER_INSTANCE,
    HostFeatures,
    InstanceDirectory,
    InstanceRecord,
    Launch,
    compiled_profile,
    first_id,
    keep_compiled_profile,
    oci_config,
    render,
)
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.disk import Spaces, WritableLayer, seeds
from runtime.errors import CommandFailedError, RuntimeCoreError
from runtime.keeper.processes import become_helper
from runtime.system import syscalls
from runtime.system.commands import forked

CRUN = "/usr/bin/crun"
# Where crun finds the two namespaces: descriptors it inherits, so the configuration needs no pid.
_USER_FD = 20
_NET_FD = 21


@dataclass(frozen=True, slots=True)
class Launcher:
    """What a launch needs to know of the host."""

    config: HostConfig
    cgroups: Cgroups
    features: HostFeatures

    def fork(self, record: InstanceRecord, *, keep_layers: bool) -> tuple[int, int]:
        """Begin a start; returns the launcher's pid and a descriptor that will give one line of JSON.

        The line is {"pid", "timings_ms"} or {"code", "message"}; none at all when the launcher was killed.
        """
        report, answer = os.pipe()

        def body() -> None:
            os.close(report)
            with os.fdopen(answer, "wb") as out:
                out.write(
                    json.dumps(self._outcome(record, keep_layers=keep_layers)).encode() + b"\n"
                )

        pid = forked(body)
        os.close(answer)
        return pid, report

    def _outcome(self, record: InstanceRecord, *, keep_layers: bool) -> dict[str, object]:
        try:
            return self._launch(record, keep_layers=keep_layers)
        except RuntimeCoreError as error:
            return {"code": error.code, "message": error.message}
        except OSError as error:
            return {"code": "host", "message": f"start of {record.spec.instance_id}: {error}"}

    def _launch(self, record: InstanceRecord, *, keep_layers: bool) -> dict[str, object]:
        become_helper("stoa-launch")
        spec, clock = record.spec, Stopwatch()
        ids = first_id(self.config, spec.published_port)
        directory = InstanceDirectory.of(self.config.state_dir, spec.instance_id)
        spaces = Spaces(self.config.state_dir)
        # Before anything is made: an empty directory must not stand in for what a shop has.
        source = spaces.find(spec.volume) if spec.volume else None
        self.cgroups.enter(spec.instance_id)
        clock.lap("cgroup")
        with _namespaces(ids) as held, ExitStack() as open_places:
            directory.give_fifos(ids + record.program.uid)
            with spaces.room_for_us(spec.instance_id, spec.volume):
                layer = spaces.prepare_layer(
                    spec.instance_id, spec.volume, owner=ids, fresh=not keep_layers
                )
                stage = rootfs.open_stage()
                # In the same block: a full btrfs does not take a second change of its limit so soon.
                kept = open_places.enter_context(_kept(source, record)) if source else []
                spaces.note_places(spec.volume, record.program.volumes)
                clock.lap("layers")
                self._assemble(stage, record, layer, held)
            if source:
                _attach(stage, source, kept, held)
            clock.lap("mounts")
            self._connect(record, held)
            clock.lap("network")
            compiled = compiled_profile(self.config)
            configuration = self._configuration(record, stage, compiled)
            (stage.bundle / "config.json").write_text(configuration)
            clock.lap("bundle")
            pid = _crun(stage, directory, spec.instance_id, held)
            if not compiled:
                keep_compiled_profile(self.config, stage.compiled(spec.instance_id).read_bytes())
            clock.lap("crun")
        return {"pid": pid, "timings_ms": clock.laps}

    def _assemble(
        self,
        stage: rootfs.Stage,
        record: InstanceRecord,
        layer: WritableLayer,
        held: "NamespaceHolder",
    ) -> None:
        rootfs.ensure_furniture(self.config)
        furniture = rootfs.furniture_path(self.config, with_volume=bool(record.spec.volume))
        rootfs.assemble(
            stage,
            lower=(furniture, Path(record.image)),
            upper=layer.upper if record.spec.writable_root else None,
            work=layer.work,
            userns_fd=held.user_fd,
        )

    def _connect(self, record: InstanceRecord, held: "NamespaceHolder") -> None:
        spec = record.spec
        network.ensure_host(
            self.config
        )  # a third of a millisecond; somebody may have flushed our table
        held.wait_for_network()
        endpoint = network.Endpoint(
            spec.published_port, spec.container_port, spec.ceilings, spec.internet
        )
        network.connect(self.config, endpoint, netns_fd=held.net_fd)

    def _configuration(self, record: InstanceRecord, stage: rootfs.Stage, compiled: bytes) -> str:
        launch = Launch(
            rootfs=str(stage.rootfs),
            volume=str(stage.volume) if record.spec.volume else "",
            kept=tuple(
                (path, str(stage.kept(number)))
                for number, path in enumerate(record.program.volumes)
            ),
            cgroup=self.cgroups.oci_path(record.spec.instance_id),
            user_namespace=f"/proc/self/fd/{_USER_FD}",
            network_namespace=f"/proc/self/fd/{_NET_FD}",
        )
        configuration = oci_config(record.spec, record.program, launch, self.features)
        return render(configuration, compiled)


def _kept(source: Path, record: InstanceRecord) -> AbstractContextManager[list[tuple[str, str]]]:
    program = record.program
    return seeds.kept_directories(
        source, Path(record.image), program.volumes, owner=(program.uid, program.gid)
    )


def _attach(
    stage: rootfs.Stage, source: Path, kept: list[tuple[str, str]], held: "NamespaceHolder"
) -> None:
    rootfs.attach_volume(stage.volume, str(source), userns_fd=held.user_fd)
    for number, (_, place) in enumerate(kept):
        rootfs.attach_volume(stage.kept(number), place, userns_fd=held.user_fd)


class Stopwatch:
    """Names the parts of a start with the milliseconds each took."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End the part that is running and call it name."""
        now = time.monotonic()
        self.laps[name] = round((now - self._last) * 1000, 2)
        self._last = now


class NamespaceHolder:
    """A user namespace and, inside it, a network namespace, kept by a process that only waits.

    In this order, or crun would show the container the host's /sys.
    """

    def __init__(self, ids: int) -> None:
        self._go, go = os.pipe()
        ready, self._ready = os.pipe()
        self._wait, self._give = ready, go
        self._launcher = os.getpid()
        self.pid = forked(lambda: self._hold(ids))
        os.close(self._ready)
        os.close(self._go)
        self._expect(b"u")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{self.pid}/{name}").write_text(f"0 {ids} {IDS_PER_INSTANCE}")
        self.user_fd = os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY)
        self.net_fd = -1
        os.write(self._give, b"n")

    def wait_for_network(self) -> None:
        """Return once the network namespace exists."""
        self._expect(b"n")
        self.net_fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)

    def _expect(self, mark: bytes) -> None:
        if os.read(self._wait, 1) != mark:
            raise OSError("the process that makes the namespaces ended early")

    def _hold(self, ids: int) -> None:
        os.close(self._give)
        # Whoever makes the namespace is charged for what is used in it: inotify instances, message
        # queues, pending signals. Made by root, one tenant would use up root's own and everybody's.
        os.setresuid(-1, ids, 0)
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        # Only now: another user is another credential, and the kernel forgets this wish with the old one.
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != self._launcher:
            return  # it died before the line above
        os.write(self._ready, b"u")
        if os.read(self._go, 1) != b"n":
            return
        syscalls.unshare(syscalls.CLONE_NEWNET)
        # Last thing before the container: no further user namespaces, so no new kernel surface.
        _write("/proc/sys/user/max_user_namespaces", "0")
        _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        os.write(self._ready, b"n")
        signal.pause()

    def end(self) -> None:
        """Let go: the namespaces live on only where a container has joined them."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@contextmanager
def _namespaces(ids: int) -> Iterator[NamespaceHolder]:
    held = NamespaceHolder(ids)
    try:
        yield held
    finally:
        held.end()


def _crun(
    stage: rootfs.Stage, directory: InstanceDirectory, instance_id: str, held: NamespaceHolder
) -> int:
    """Run crun to its end; returns the container's first process. Nothing crun writes is kept."""
    pid_file, messages = stage.root / "pid", stage.root / "messages"
    argv = (
        CRUN, "--root", str(stage.crun_root), "--cgroup-manager", "cgroupfs",
        "--log", str(messages),
        "run", "--detach", "--bundle", str(stage.bundle), "--pid-file", str(pid_file), instance_id,
    )  # fmt: skip
    out = os.open(directory.fifo("out"), os.O_RDWR)
    err = os.open(directory.fifo("err"), os.O_RDWR)
    nothing = os.open(os.devnull, os.O_RDONLY)
    # Above both numbers: a namespace that happens to have the other's would be overwritten by it.
    user_fd, net_fd = (
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _NET_FD + 1) for fd in (held.user_fd, held.net_fd)
    )
    child = os.posix_spawn(
        CRUN,
        argv,
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, nothing, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, err, 2),
            (os.POSIX_SPAWN_DUP2, user_fd, _USER_FD),
            (os.POSIX_SPAWN_DUP2, net_fd, _NET_FD),
        ],
        setsigdef=[signal.SIGPIPE],
    )
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        said = messages.read_text()[-400:].strip() if messages.exists() else ""
        raise CommandFailedError(f"crun ended with exit code {code}: {said}", exit_code=code)
    return int(pid_file.read_text())


def _write(path: str, value: str) -> None:
    with suppress(FileNotFoundError):  # a kernel without the switch has nothing to switch
        Path(path).write_text(value)
