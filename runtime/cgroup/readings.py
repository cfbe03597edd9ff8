"""What the kernel's accounting files say, read by pure functions from recorded or live text."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

_MICRO = 1000
_LOOP_MAJOR = "7:"


@dataclass(frozen=True, slots=True)
class CgroupReading:
    """One reading of an instance's cgroup.

    cpu_*, io_* and the stalls only grow; memory_bytes is the working set: usage less inactive file
    pages; memory_peak_bytes is the highest usage so far, or 0 where the kernel does not keep it.
    Stalls are microseconds in which some process waited; None where the kernel does not measure it.
    """

    cpu_nanos: int
    cpu_throttled_nanos: int
    memory_bytes: int
    memory_peak_bytes: int
    oom_kills: int
    pids: int
    io_read_bytes: int = 0
    io_write_bytes: int = 0
    cpu_stall_micros: int | None = None
    memory_stall_micros: int | None = None
    io_stall_micros: int | None = None


def field(text: str, name: str) -> int:
    """Return the number after `name ` at the start of a line, 0 when there is none.

    memory.stat has fifty lines and is read every few seconds for every instance: no dictionary is made.
    """
    at = 0 if text.startswith(f"{name} ") else text.find(f"\n{name} ") + 1
    if at == 0 and not text.startswith(f"{name} "):
        return 0
    start = at + len(name) + 1
    end = text.find("\n", start)
    return int(text[start:] if end < 0 else text[start:end])


def usage_v1(texts: dict[str, str]) -> CgroupReading:
    """Usage from the files of version 1, by name; the kernel keeps no pressure there."""
    memory = int(texts["memory.usage_in_bytes"])
    read, written = io_v1(texts.get("blkio.throttle.io_service_bytes_recursive", ""))
    return CgroupReading(
        cpu_nanos=int(texts["cpuacct.usage"]),
        cpu_throttled_nanos=field(texts["cpu.stat"], "throttled_time"),
        memory_bytes=max(0, memory - field(texts["memory.stat"], "total_inactive_file")),
        memory_peak_bytes=int(texts["memory.max_usage_in_bytes"]),
        oom_kills=field(texts["memory.oom_control"], "oom_kill"),
        pids=int(texts["pids.current"]),
        io_read_bytes=read,
        io_write_bytes=written,
    )


def usage_v2(texts: dict[str, str]) -> CgroupReading:
    """Usage from the files of version 2, by name.

    memory.peak (Linux 5.19), io.stat and the three *.pressure may be missing or empty.
    """
    memory = int(texts["memory.current"])
    read, written = io_v2(texts.get("io.stat", ""))
    return CgroupReading(
        cpu_nanos=field(texts["cpu.stat"], "usage_usec") * _MICRO,
        cpu_throttled_nanos=field(texts["cpu.stat"], "throttled_usec") * _MICRO,
        memory_bytes=max(0, memory - field(texts["memory.stat"], "inactive_file")),
        memory_peak_bytes=int(texts.get("memory.peak") or 0),
        oom_kills=field(texts["memory.events"], "oom_kill"),
        pids=int(texts["pids.current"]),
        io_read_bytes=read,
        io_write_bytes=written,
        cpu_stall_micros=stall_micros(texts.get("cpu.pressure", "")),
        memory_stall_micros=stall_micros(texts.get("memory.pressure", "")),
        io_stall_micros=stall_micros(texts.get("io.pressure", "")),
    )


def io_v1(text: str) -> tuple[int, int]:
    """Bytes read and written: lines `<device> Read|Write|Sync|… <bytes>`, and a `Total` of all."""
    if text.startswith("Total"):
        return 0, 0
    rows = [line.split(" ") for line in text.splitlines()]
    found = [(row[0], row[1], int(row[2])) for row in rows if len(row) == 3]
    read = _once((device, amount) for device, kind, amount in found if kind == "Read")
    written = _once((device, amount) for device, kind, amount in found if kind == "Write")
    return read, written


def io_v2(text: str) -> tuple[int, int]:
    """Bytes read and written: lines `<device> rbytes=… wbytes=… rios=… wios=…`."""
    if not text:
        return 0, 0
    rows = [line.split(" ") for line in text.splitlines()]
    found = [(row[0], dict(pair.split("=", 1) for pair in row[1:] if "=" in pair)) for row in rows]
    read = _once((device, int(values.get("rbytes", 0))) for device, values in found)
    written = _once((device, int(values.get("wbytes", 0))) for device, values in found)
    return read, written


def _once(amounts: Iterable[tuple[str, int]]) -> int:
    """Return the sum over disks. What a loop device did was mostly done again by the disk that holds its
    file.
    """
    loops = others = 0
    for device, amount in amounts:
        if device.startswith(_LOOP_MAJOR):
            loops += amount
        else:
            others += amount
    return max(loops, others)


def stall_micros(text: str) -> int | None:
    """Return the total of the line `some avg10=… avg60=… avg300=… total=…`; None when there is none."""
    for line in text.splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2])
    return None


def stands_still(text: str) -> bool:
    """Return whether freezer.state (version 1) or cgroup.events (version 2) says that all of it is frozen."""
    words = text.split()
    return words == ["FROZEN"] or ("frozen", "1") in pairwise(words)
