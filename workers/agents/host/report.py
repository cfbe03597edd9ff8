"""What a host tells about itself: what it holds, what it offers and what is used of that."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from runtime import disk
from runtime.cgroup.slice import Slice
from runtime.driver import Driver
from runtime.errors import HostUnfitError
from runtime.statuses import InstanceStatus
from runtime.units import Sample
from runtime.wire import JsonValue, to_wire
from workers.agents.host.throttling import Throttling
from workers.agents.host.usage_window import Windows

SAMPLE_SECONDS = 10.0
# Thousands of instances on a busy machine are sampled for seconds, in which a host must not seem lost:
# what is not there after this comes with a later report.
_WORTH_WAITING_SECONDS = 0.5
# A thousand shops that all crashed must not make a report that is too long to be read.
LINES_LIMIT = 1024 * 1024
_NANOS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the whole machine. busy_nanos only grows; disk is what tenants' data lie on."""

    busy_nanos: int
    memory_total: int
    memory_available: int
    disk_total: int
    disk_free: int


class ReportCollector:
    """Collects the changing part of a host's report. For one thread."""

    def __init__(
        self,
        driver: Driver,
        *,
        state_dir: Path,
        marks: disk.Watermarks | None = None,
        epoch: Callable[[], int] = lambda: 0,
        slice_: Slice | None = None,
    ) -> None:
        self._slice = slice_
        self._capacity_millis = slice_.cpu_millis if slice_ else _capacity_millis()
        self._driver = driver
        self._epoch = epoch
        self._marks = marks or disk.Watermarks()
        self._state_dir = state_dir
        self._sampler = ThreadPoolExecutor(1, thread_name_prefix="samples")
        self._sampling: Future[tuple[Sample, ...]] | None = None
        self._samples: JsonValue = []
        self._samples_seq = 0
        self._throttling = Throttling()
        self._windows = Windows()
        self._last = (time.monotonic(), self._read())
        self._sampled_at = float("-inf")
        self._cpu_millis = 0

    def collect(self) -> Mapping[str, JsonValue]:
        """Return all that changes: what it holds, offers and uses. Raises what the driver raises."""
        now = time.monotonic()
        reading = self._read()
        self._sample(now)
        if now - self._last[0] >= SAMPLE_SECONDS or not self._cpu_millis:
            # Capped: ticks are coarse, and more than all cores is never in use.
            self._cpu_millis = min(self._capacity_millis, cpu_millis(self._last, (now, reading)))
            self._last = (now, reading)
        entries = [
            entry(status) | self._throttling.shown(status.instance_id)
            for status in self._driver.list()
        ]
        fit_last_lines(entries)
        return {
            "epoch": self._epoch(),
            "digest": inventory_digest(entries),
            "inventory": [*entries],
            "capacity": {
                "cpu_millis": self._capacity_millis,
                "memory_bytes": reading.memory_total,
                "disk_bytes": reading.disk_total,
            },
            "usage": {
                "cpu_millis": self._cpu_millis,
                "memory_bytes": reading.memory_total - reading.memory_available,
                "disk_bytes": reading.disk_total - reading.disk_free,
            },
            "conditions": to_wire(disk.conditions(self._state_dir, self._marks)),
            "samples_seq": self._samples_seq,
            "samples": self._samples,
            # Also before the first one has ended: so that control knows that there will be some.
            "window": to_wire(self._windows.last(now)),
        }

    def _sample(self, now: float) -> None:
        """Begin to sample when that is due, and take over what has been sampled."""
        if self._sampling is None:
            if now - self._sampled_at < SAMPLE_SECONDS:
                return
            self._sampled_at = now
            self._sampling = self._sampler.submit(self._driver.samples)
        wait([self._sampling], _WORTH_WAITING_SECONDS)
        if not self._sampling.done():
            return
        done, self._sampling = self._sampling, None
        samples = done.result()
        now = time.monotonic()
        self._samples = to_wire(samples)
        self._samples_seq += 1
        self._windows.note(now, samples)
        self._throttling.note(
            now, {sample.instance_id: sample.cpu_throttled_nanos for sample in samples}
        )

    def _read(self) -> Reading:
        """Return the machine, or of processor and memory the part of it that is this host's."""
        whole = read_machine(self._state_dir)
        if self._slice is None:
            return whole
        total = min(self._slice.memory_bytes, whole.memory_total)
        return replace(
            whole,
            busy_nanos=self._slice.busy_nanos(),
            memory_total=total,
            memory_available=max(0, total - self._slice.used_bytes()),
        )


def entry(status: InstanceStatus) -> dict[str, JsonValue]:
    """Return an instance as it stands in the inventory: its status without the timings of its start."""
    wire = to_wire(status)
    if not isinstance(wire, dict):
        raise TypeError("an instance status becomes an object")
    return {name: value for name, value in wire.items() if name != "timings_ms"}


def fit_last_lines(entries: list[dict[str, JsonValue]]) -> None:
    """Keep last log lines within LINES_LIMIT bytes for the whole report: newest lines, equal shares."""
    having = [entry for entry in entries if entry.get("last_lines")]
    size = sum(len(json.dumps(entry["last_lines"])) for entry in having)
    if size <= LINES_LIMIT:
        return
    share = LINES_LIMIT // len(having)
    for entry in having:
        lines = entry["last_lines"]
        last = str(lines[-1]) if isinstance(lines, list) else ""
        entry["last_lines"] = [last[: share // 4]]  # four bytes at most for a character


def inventory_digest(entries: list[dict[str, JsonValue]]) -> str:
    """SHA-256 over what the host holds; ages are left out, or it would change with every report."""
    kept = [{k: v for k, v in entry.items() if k != "age_seconds"} for entry in entries]
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def cpu_millis(before: tuple[float, Reading], after: tuple[float, Reading]) -> int:
    """Thousandths of a core in use between two readings, each with the time it was taken (s)."""
    seconds = after[0] - before[0]
    if seconds <= 0:
        return 0
    return round((after[1].busy_nanos - before[1].busy_nanos) / seconds / 1_000_000)


def read_machine(state_dir: Path) -> Reading:
    """Read /proc and the file system under the state directory; HostUnfitError when that is not Linux."""
    room = os.statvfs(disk.place(state_dir))
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
    }
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    if first[0] != "cpu" or "MemAvailable" not in memory:
        raise HostUnfitError("/proc/stat or /proc/meminfo does not look as Linux writes it")
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, first[1:])
    return Reading(
        busy_nanos=(user + nice + system + irq + softirq) * _NANOS_PER_TICK,
        memory_total=memory["MemTotal"],
        memory_available=memory["MemAvailable"],
        disk_total=room.f_blocks * room.f_frsize,
        disk_free=room.f_bavail * room.f_frsize,
    )


def _capacity_millis() -> int:
    return 1000 * len(os.sched_getaffinity(0))
