"""Amounts that carry their unit in their name, shared by every room that measures or limits."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most an instance may use; the kernel enforces each of them.

    cpu_millis: thousandths of one processor core.
    memory_bytes: resident memory and page cache together; swap is not given.
    pids: processes and threads.
    disk_bytes: writable layer and volume together.
    """

    cpu_millis: int
    memory_bytes: int
    pids: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of what an instance has used since its container started.

    cpu_nanos and the net counters only grow (they restart with the container); the rest are levels.
    memory_bytes is the working set: usage less inactive file pages.
    rx/tx are seen from the container: rx_bytes is what it received.
    """

    instance_id: str
    cpu_nanos: int
    cpu_throttled_nanos: int
    memory_bytes: int
    memory_peak_bytes: int
    oom_kills: int
    pids: int
    rx_bytes: int
    tx_bytes: int
    disk_bytes: int
