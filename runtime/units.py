"""Amounts that carry their unit in their name, shared by every room that measures or limits.

Also how amounts are written for people and read from them, the same on pages, in `stoa` and on a host.
"""

from dataclasses import dataclass, field, fields

from runtime.errors import SpecInvalidError
from runtime.wire import LATER

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
_SIZES = ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))

# Who may use less than a core spends it in one go, which answers a request sooner. Who may use more is
# given it in pieces of the size the kernel hands to one core at a time (sched_cfs_bandwidth_slice_us):
# eight processes on a limit of one core then use one core, not two for half of every 100 ms.
_LONG_PERIOD_MICROS = 100_000
_SHORT_PERIOD_MICROS = 5_000

MOST_WINDOW_SECONDS = 3600


def bytes_text(count: float | None) -> str:
    """Return bytes in the largest unit that fits: 512 B, 1.5 KiB, 64 MiB; – for None."""
    if count is None:
        return "–"
    for size, unit in _SIZES:
        if count >= size:
            number = count / size
            digits = 1 if number < 10 and number != int(number) else 0
            return f"{number:.{digits}f} {unit}"
    return f"{count:.0f} B"


def cores_text(cpu_millis: int | None) -> str:
    """Return thousandths of a processor core as cores: 0.25, 4; – for None."""
    return "–" if cpu_millis is None else f"{cpu_millis / 1000:.2f}".rstrip("0").rstrip(".")


def grown(before: int, after: int) -> int:
    """Return how far a counter has grown; a lower one began anew at 0, with another cgroup or container."""
    return after - before if after >= before else after


@dataclass(frozen=True, slots=True)
class Limits:
    """The most an instance may use; the kernel enforces each of them.

    cpu_millis: thousandths of one processor core.
    memory_bytes: resident memory and page cache together; swap is not given.
    pids: processes and threads.
    disk_bytes: writable layer and volume together.
    egress_bytes_per_second: what it may send; 0 for no limit of its own.
    connections, new_connections_per_second: what it may open to the outside; 0 for the host's default.
    io_bytes_per_second: what it may read, and again write, on the disk; 0 for no limit of its own.
    """

    cpu_millis: int
    memory_bytes: int
    pids: int
    disk_bytes: int
    # Younger than the first agents: left out of messages and records while they are the default.
    egress_bytes_per_second: int = field(default=0, metadata=LATER)
    connections: int = field(default=0, metadata=LATER)
    new_connections_per_second: int = field(default=0, metadata=LATER)
    io_bytes_per_second: int = field(default=0, metadata=LATER)

    @property
    def cpu_period_micros(self) -> int:
        """Return the period at which processor time is given out."""
        return _LONG_PERIOD_MICROS if self.cpu_millis < 1000 else _SHORT_PERIOD_MICROS

    @property
    def cpu_quota_micros(self) -> int:
        """Processor time it may use in each period; the kernel takes no less than 1 ms."""
        return max(1000, self.cpu_millis * self.cpu_period_micros // 1000)

    @property
    def cpu_shares(self) -> int:
        """Return its share of the processors while they are all busy; 1024 for a whole core."""
        return max(2, self.cpu_millis * 1024 // 1000)

    def check(self) -> None:
        """Refuse limits that no kernel can set (SpecInvalidError)."""
        for item in fields(self):
            amount, least = getattr(self, item.name), 0 if item.metadata else 1
            if amount < least:
                raise SpecInvalidError(
                    f"limits.{item.name} is {amount}; it must be {least} or more", field=item.name
                )


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of what an instance has used since its container started.

    cpu_nanos and the net counters only grow (they restart with the container); the rest are levels.
    memory_bytes is the working set: usage less inactive file pages.
    rx/tx are seen from the container: rx_bytes is what it received.
    The stall counters say for how long at least one process waited for the resource (PSI "some");
    None where the kernel does not measure pressure.
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
    io_read_bytes: int = field(default=0, metadata=LATER)
    io_write_bytes: int = field(default=0, metadata=LATER)
    cpu_stall_micros: int | None = field(default=None, metadata=LATER)
    memory_stall_micros: int | None = field(default=None, metadata=LATER)
    io_stall_micros: int | None = field(default=None, metadata=LATER)


@dataclass(frozen=True, slots=True)
class UsageWindow:
    """What instances used over one window of many samples: entry i of every tuple is of instance_ids[i].

    number: counts the windows since the agent started. seconds: how long it was. age_seconds: since it
    ended. cpu_micros: mean thousandths of a millicore; cpu_peak_micros: the highest from one sample to
    the next. memory_peak_bytes: the largest working set seen. tx_bytes: what was sent. disk_bytes: at
    the end. oom_kills: in this window.
    """

    number: int
    seconds: float
    age_seconds: float
    instance_ids: tuple[str, ...]
    cpu_micros: tuple[int, ...]
    cpu_peak_micros: tuple[int, ...]
    memory_peak_bytes: tuple[int, ...]
    tx_bytes: tuple[int, ...]
    disk_bytes: tuple[int, ...]
    oom_kills: tuple[int, ...]

    def check(self) -> None:
        """Refuse a window whose columns do not belong together (SpecInvalidError)."""
        for item in fields(self):
            column = getattr(self, item.name)
            if isinstance(column, tuple) and len(column) != len(self.instance_ids):
                raise SpecInvalidError(
                    f"window.{item.name} has {len(column)} entries; "
                    f"it must have one for each of {len(self.instance_ids)} instances",
                    field=f"window.{item.name}",
                )
        if not 0 < self.seconds <= MOST_WINDOW_SECONDS or self.age_seconds < 0:
            raise SpecInvalidError(
                f"window.seconds is {self.seconds} and window.age_seconds {self.age_seconds}; "
                f"they must be above 0 up to {MOST_WINDOW_SECONDS}, and 0 or more",
                field="window.seconds",
            )
