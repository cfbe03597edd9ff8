"""Reads the usage of a thousand instances every few seconds.

Most of the time of reading a small kernel file goes into opening it: 10 microseconds against 1 to
read it. So the files stay open, as many as half of what this process may open (bench/sampling.py
measures what that gives); instances beyond that are read by opening.
"""

import errno
import os
import resource
from dataclasses import dataclass
from threading import Lock

from runtime.cgroup.layout import Version
from runtime.cgroup.readings import CgroupReading, field, usage_v1, usage_v2

_READ_BYTES = 16384
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})
# A kernel booted without pressure has the files and refuses to read them.
_NOT_KEPT = frozenset({errno.EOPNOTSUPP, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a controller; a kernel may lack one that is optional."""

    controller: str
    name: str
    optional: bool = False


SOURCES = {
    Version.V1: (
        Source("cpuacct", "cpuacct.usage"),
        Source("cpu", "cpu.stat"),
        Source("memory", "memory.usage_in_bytes"),
        Source("memory", "memory.max_usage_in_bytes"),
        Source("memory", "memory.stat"),
        Source("memory", "memory.oom_control"),
        Source("pids", "pids.current"),
        Source("blkio", "blkio.throttle.io_service_bytes_recursive", optional=True),
    ),
    Version.V2: (
        Source("cpu", "cpu.stat"),
        Source("memory", "memory.current"),
        Source("memory", "memory.stat"),
        Source("memory", "memory.events"),
        Source("pids", "pids.current"),
        Source("memory", "memory.peak", optional=True),
        Source("io", "io.stat", optional=True),
        Source("cpu", "cpu.pressure", optional=True),
        Source("memory", "memory.pressure", optional=True),
        Source("io", "io.pressure", optional=True),
    ),
}


class Meter:
    """Usage of the instances whose cgroups lie in `places`: controller → the directory of all of them.

    keep_open: descriptors kept at most; None for half of what the process may have. Safe to share
    between threads.
    """

    def __init__(
        self, version: Version, places: dict[str, str], *, keep_open: int | None = None
    ) -> None:
        self._read_usage = usage_v1 if version is Version.V1 else usage_v2
        self._oom_file = "memory.oom_control" if version is Version.V1 else "memory.events"
        self._sources = tuple(source for source in SOURCES[version] if source.controller in places)
        self._places = places
        ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._most = (ceiling if keep_open is None else keep_open) // len(self._sources)
        self._open: dict[str, dict[str, int]] = {}
        # A descriptor closed by one thread may at once be another file's: reading and closing take turns.
        self._lock = Lock()

    def usage(self, instance_id: str) -> CgroupReading | None:
        """Return one reading of an instance; None when it has no cgroup (any more)."""
        with self._lock:
            texts = self._texts(instance_id)
        return self._read_usage(texts) if texts else None

    def oom_kills(self, instance_id: str) -> int:
        """Return how many processes the kernel has killed in the instance's cgroup; 0 without one."""
        with self._lock:
            kept = self._open.get(instance_id)
            try:
                text = (
                    os.pread(kept[self._oom_file], _READ_BYTES, 0).decode()
                    if kept
                    else _read_once(f"{self._places['memory']}/{instance_id}/{self._oom_file}")
                )
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self._close(instance_id)
                text = ""
        return field(text, "oom_kill")

    def forget(self, instance_id: str) -> None:
        """Close what is open of an instance; no-op if nothing is."""
        with self._lock:
            self._close(instance_id)

    def keep_only(self, instance_ids: set[str]) -> None:
        """Close what is open of every other instance."""
        with self._lock:
            for other in self._open.keys() - instance_ids:
                self._close(other)

    def close(self) -> None:
        """Close everything."""
        self.keep_only(set())

    def _texts(self, instance_id: str) -> dict[str, str] | None:
        kept = self._open.get(instance_id)
        if kept is not None:
            try:
                return {name: _pread(fd) for name, fd in kept.items()}
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                # Made anew for another container of the same instance, or gone for good.
                self._close(instance_id)
        opened = self._opened(instance_id)
        if opened is None:
            return None
        try:
            texts = {name: _pread(fd) for name, fd in opened.items()}
        except OSError as error:
            _close_all(opened)
            if error.errno not in _GONE:
                raise
            return None
        if len(self._open) < self._most:
            self._open[instance_id] = opened
        else:
            _close_all(opened)
        return texts

    def _opened(self, instance_id: str) -> dict[str, int] | None:
        opened: dict[str, int] = {}
        for source in self._sources:
            path = f"{self._places[source.controller]}/{instance_id}/{source.name}"
            try:
                opened[source.name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in _GONE and source.optional:
                    continue
                _close_all(opened)
                if error.errno in _GONE:
                    return None
                raise
        return opened

    def _close(self, instance_id: str) -> None:
        _close_all(self._open.pop(instance_id, {}))


def _pread(fd: int) -> str:
    try:
        return os.pread(fd, _READ_BYTES, 0).decode()
    except OSError as error:
        if error.errno in _NOT_KEPT:
            return ""
        raise


def _read_once(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _READ_BYTES).decode()
    finally:
        os.close(fd)


def _close_all(opened: dict[str, int]) -> None:
    for fd in opened.values():
        os.close(fd)
