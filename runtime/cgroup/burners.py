"""Lets instances that burn processor time wait until no other instance wants any.

A request of a shop that was asleep would otherwise wait for the piece of time a burner has begun: the
kernel (EEVDF, 250 ticks a second) lets it end, up to 4 ms, whatever the two weigh. Marked idle (`cpu.idle`,
Linux 5.15), a burner is interrupted at once. So that it keeps a share of a full host, the mark is judged
anew at each look. An instance that got little since the last one, because it stopped or because others left
it nothing, weighs what its plan says until it burns again. At the worst it is marked every second look, and
so has half of its share.
"""

import errno
import os
import time
from collections.abc import Callable, Mapping

from runtime.cgroup.layout import Layout, Version
from runtime.cgroup.limits import Write, weighing

# Shares of one core since the last look. Between the two a mark stays as it is.
BURNS_FROM = 0.5
BURNS_UNTIL = 0.25

_MARKED = Write("cpu", "cpu.idle", "1", optional=True)
_UNMARKED = Write("cpu", "cpu.idle", "0", optional=True)
_GONE = frozenset({errno.ENOENT, errno.ENODEV})
_READ_BYTES = 4096


def judge(cores: Mapping[str, float], marked: frozenset[str]) -> frozenset[str]:
    """Return the instances to mark, from the cores each has used since the last look and those marked now."""
    return frozenset(
        instance_id
        for instance_id, used in cores.items()
        if used >= (BURNS_UNTIL if instance_id in marked else BURNS_FROM)
    )


class Burners:
    """Marks the burners among the instances whose cgroups lie in the scope. For one thread.

    shares_of: what an instance weighs by its plan; the kernel forgets that while it is marked.
    A look reads one file while the scope as a whole uses less than a burner would, else one for each
    instance.
    """

    def __init__(self, layout: Layout, scope: str, shares_of: Callable[[str], int]) -> None:
        is_v1 = layout.version is Version.V1
        self._version, self._shares_of = layout.version, shares_of
        self._file = "cpuacct.usage" if is_v1 else "cpu.stat"
        self._seconds_in = 1e-9 if is_v1 else 1e-6
        self._usage = f"{layout.roots['cpuacct' if is_v1 else 'cpu']}/{scope}"
        self._marks = f"{layout.roots['cpu']}/{scope}"
        self._looked_at = 0.0
        self._total: float | None = None
        self._before: dict[str, float] = {}
        # None: not known yet. An earlier keeper may have left marks.
        self._marked: frozenset[str] | None = None

    def look(self, now: float | None = None) -> None:
        """Judge by what was used since the last look, and mark or unmark; now is monotonic, in seconds."""
        now = time.monotonic() if now is None else now
        seconds, self._looked_at = now - self._looked_at, now
        before, self._total = self._total, self._seconds(self._usage)
        if self._total is None:
            self._before, self._marked = {}, frozenset()  # no scope, so nobody is in it
            return
        if self._marked is None:
            self._marked = self._found_marked()
        is_calm = before is not None and self._total - before < BURNS_FROM * seconds
        if is_calm and not self._marked:
            self._before = {}
            return
        after = self._readings()
        cores = {
            instance_id: (used - self._before[instance_id]) / seconds
            for instance_id, used in after.items()
            if instance_id in self._before and seconds > 0
        }
        # Only just seen: judged by the next look.
        waiting = self._marked & (after.keys() - cores.keys())
        self._before = after
        self._settle(judge(cores, self._marked) | waiting, self._marked & after.keys())

    def _settle(self, wanted: frozenset[str], marked: frozenset[str]) -> None:
        refused = {
            instance_id for instance_id in wanted - marked if not self._write(instance_id, _MARKED)
        }
        for instance_id in marked - wanted:
            self._write(instance_id, _UNMARKED)
            self._write(instance_id, weighing(self._version, self._shares_of(instance_id)))
        self._marked = wanted - refused

    def _write(self, instance_id: str, write: Write) -> bool:
        """Return whether the kernel took it; it may lack the switch, and the container may just have gone."""
        try:
            fd = os.open(f"{self._marks}/{instance_id}/{write.file}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        try:
            os.write(fd, write.value.encode())
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        finally:
            os.close(fd)
        return True

    def _found_marked(self) -> frozenset[str]:
        found = (
            instance_id
            for instance_id in self._instances()
            if _text(f"{self._marks}/{instance_id}/cpu.idle") == b"1\n"
        )
        return frozenset(found)

    def _readings(self) -> dict[str, float]:
        """Return seconds of processor time each instance has used so far."""
        readings = (
            (instance_id, self._seconds(f"{self._usage}/{instance_id}"))
            for instance_id in self._instances()
        )
        return {instance_id: used for instance_id, used in readings if used is not None}

    def _seconds(self, directory: str) -> float | None:
        """Return the processor seconds of a cgroup; None if it does not exist (any more)."""
        text = _text(f"{directory}/{self._file}")
        # Version 2 begins with `usage_usec N`, version 1 is the number alone.
        return int(text.split(b"\n", 1)[0].split()[-1]) * self._seconds_in if text else None

    def _instances(self) -> list[str]:
        try:
            with os.scandir(self._marks) as entries:
                return [entry.name for entry in entries if entry.name.startswith("ins_")]
        except FileNotFoundError:
            return []


def _text(path: str) -> bytes:
    """Return a small kernel file; nothing when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _GONE:
            return b""
        raise
    try:
        return os.read(fd, _READ_BYTES)
    except OSError as error:
        if error.errno in _GONE:
            return b""
        raise
    finally:
        os.close(fd)
