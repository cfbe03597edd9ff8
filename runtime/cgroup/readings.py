"""What the kernel's accounting files say, read by pure functions from recorded or live text."""

from dataclasses import dataclass

_MICRO = 1000


@dataclass(frozen=True, slots=True)
class Usage:
    """One reading of an instance's cgroup.

    cpu_nanos and cpu_throttled_nanos only grow; memory_bytes is the working set: usage less inactive
    file pages; memory_peak_bytes is the highest usage so far, or 0 where the kernel does not keep it.
    """

    cpu_nanos: int
    cpu_throttled_nanos: int
    memory_bytes: int
    memory_peak_bytes: int
    oom_kills: int
    pids: int


def field(text: str, name: str) -> int:
    """The number after `name ` at the start of a line, 0 when there is none.

    memory.stat has fifty lines and is read every few seconds for every instance: no dictionary is made.
    """
    at = 0 if text.startswith(f"{name} ") else text.find(f"\n{name} ") + 1
    if at == 0 and not text.startswith(f"{name} "):
        return 0
    start = at + len(name) + 1
    end = text.find("\n", start)
    return int(text[start:] if end < 0 else text[start:end])


def usage_v1(texts: dict[str, str]) -> Usage:
    """Usage from the files of version 1, by name."""
    memory = int(texts["memory.usage_in_bytes"])
    return Usage(
        cpu_nanos=int(texts["cpuacct.usage"]),
        cpu_throttled_nanos=field(texts["cpu.stat"], "throttled_time"),
        memory_bytes=max(0, memory - field(texts["memory.stat"], "total_inactive_file")),
        memory_peak_bytes=int(texts["memory.max_usage_in_bytes"]),
        oom_kills=field(texts["memory.oom_control"], "oom_kill"),
        pids=int(texts["pids.current"]),
    )


def usage_v2(texts: dict[str, str]) -> Usage:
    """Usage from the files of version 2, by name; memory.peak may be missing (before Linux 5.19)."""
    memory = int(texts["memory.current"])
    return Usage(
        cpu_nanos=field(texts["cpu.stat"], "usage_usec") * _MICRO,
        cpu_throttled_nanos=field(texts["cpu.stat"], "throttled_usec") * _MICRO,
        memory_bytes=max(0, memory - field(texts["memory.stat"], "inactive_file")),
        memory_peak_bytes=int(texts.get("memory.peak", "0")),
        oom_kills=field(texts["memory.events"], "oom_kill"),
        pids=int(texts["pids.current"]),
    )
