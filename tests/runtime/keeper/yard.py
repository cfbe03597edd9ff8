"""A host in memory for the keeper: its cgroups and launchers, with real processes in the containers' place.

What runs, what was told to end, and what refuses to is the yard's to say; crun, mounts and networks have
no part. Time is the yard's own, so pauses of minutes cost nothing.
"""

import json
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from runtime.bundle import Desired, InstanceDirectory, InstanceRecord, Program
from runtime.keeper.processes import start_ticks
from runtime.keeper.supervised import Listener, Supervised
from runtime.specs import InstanceSpec
from runtime.units import MIB, Limits

_SLEEPER = ("/bin/busybox", "sleep", "1000")
_SPEC = InstanceSpec("ins_yard000000", "shop", "sha256:" + "1" * 64, 21000, Limits(1, MIB, 1, MIB))
_PROGRAM = Program(("x",), (), "/", 0, 0)


class Yard:
    """In place of the kernel's cgroups and of launchers, for the keeper's own code."""

    def __init__(self, state_dir: Path) -> None:
        self.config = SimpleNamespace(state_dir=state_dir)
        self.cgroups = self
        self.now = 1000.0
        self.inside: dict[str, set[int]] = defaultdict(set)
        # Instances whose processes wait in the kernel: SIGKILL is sent, and nothing comes of it.
        self.unkillable: set[str] = set()
        # Instances whose cgroups give an error when somebody would end what is in them.
        self.damaged: set[str] = set()
        # Launchers under way: the instance and where its line is awaited, by pid.
        self.launchers: dict[int, tuple[str, int]] = {}
        # Instances to which a port leads.
        self.routes: set[str] = set()
        # Children of the present keeper that have not been collected, and those of keepers before it.
        self.children: set[int] = set()
        self._orphans: set[int] = set()

    # What Cgroups offers ------------------------------------------------------------------------

    def pids(self, instance_id: str) -> tuple[int, ...]:
        return tuple(sorted(pid for pid in self.inside[instance_id] if start_ticks(pid)))

    def kill_once(self, instance_id: str) -> tuple[int, ...]:
        if instance_id in self.damaged:
            raise OSError("its cgroup cannot be read")
        left = self.pids(instance_id)
        if instance_id not in self.unkillable:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        return left

    def instances(self) -> tuple[str, ...]:
        return tuple(sorted(self.inside))

    def remove(self, instance_id: str, *, deadline_seconds: float) -> None:
        self.inside.pop(instance_id, None)

    def leave(self, instance_id: str) -> None:
        """The launching cgroup: here there is one for both."""

    def oom_kills(self, _instance_id: str) -> int:
        return 0

    # What Launcher offers -----------------------------------------------------------------------

    def fork(self, record: InstanceRecord, *, keep_layers: bool) -> tuple[int, int]:
        report, answer = os.pipe()
        instance_id = record.spec.instance_id
        pid = self.spawn(instance_id)
        self.launchers[pid] = (instance_id, answer)
        return pid, report

    # What the test does -------------------------------------------------------------------------

    def record(self, instance_id: str, desired: Desired) -> None:
        """Write what an agent wants, as its driver does before it asks the keeper."""
        spec = replace(_SPEC, instance_id=instance_id)
        directory = InstanceDirectory.of(self.config.state_dir, instance_id)
        directory.write(InstanceRecord(spec, "/", _PROGRAM, desired))

    def launched(self, pid: int, line: dict[str, object]) -> None:
        """A launcher comes to its end with this line; {}: it dies without one."""
        instance_id, answer = self.launchers.pop(pid)
        if "pid" in line:
            line["pid"] = self.spawn(instance_id)
            self.routes.add(instance_id)
        if line:
            with suppress(BrokenPipeError):  # its keeper was killed a moment before
                os.write(answer, json.dumps(line).encode() + b"\n")
        os.close(answer)
        self.end(pid)

    def end(self, pid: int) -> None:
        """SIGKILL, and return once it has ended; its end is still to be collected."""
        with suppress(ProcessLookupError, ChildProcessError):  # it was collected a moment ago
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def notice_killed_launchers(self) -> None:
        """A launcher that was killed has closed its end."""
        for pid in [one for one in self.launchers if not start_ticks(one)]:
            os.close(self.launchers.pop(pid)[1])

    def disconnect(self, _config: object, kept: Supervised) -> None:
        """As stopping.disconnect."""
        self.routes.discard(kept.instance_id)

    def repair_routes(self) -> None:
        """As the network watch of a new keeper: no route leads to what is not wanted on disk."""
        for one in list(self.routes):
            record = InstanceDirectory.of(self.config.state_dir, one).read()
            if record is None or record.desired is not Desired.RUNNING:
                self.routes.discard(one)

    def ended_children(self) -> Iterator[tuple[int, int]]:
        """As processes.ended_children, without the children of other tests."""
        for pid in sorted(self.children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.children.discard(pid)
                yield pid, status

    def keeper_is_killed(self) -> None:
        """Its launchers die with it; containers become somebody else's children."""
        for pid, (_, answer) in list(self.launchers.items()):
            self.end(pid)
            os.close(answer)
            del self.launchers[pid]
        self._orphans |= self.children
        self.children.clear()

    def alive(self) -> dict[str, tuple[int, ...]]:
        """What runs, by instance."""
        return {one: pids for one in self.instances() if (pids := self.pids(one))}

    def close(self) -> None:
        """End whatever is left."""
        for pids in self.inside.values():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in self.children | self._orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def spawn(self, instance_id: str) -> int:
        """A process in the instance's cgroup; what a launcher left behind, too."""
        pid = os.posix_spawn(_SLEEPER[0], _SLEEPER, {})
        self.inside[instance_id].add(pid)
        self.children.add(pid)
        return pid


class Ear(Listener):
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []

    def tell(self, message: dict[str, object]) -> None:
        self.told.append(message)
