"""Rows of shipped usage as hours of figures, the form in which the scheduler learns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from runtime.units import UsageWindow
from runtime.wire import from_wire
from workers.scheduler.profiles.usage_profile import Hour

WINDOWS_PER_HOUR = 12
HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Row:
    """One shipped row: when its window ended, the window if the agent made one, the last samples."""

    at: datetime
    window: object
    samples: object


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """What one instance used over one window."""

    cpu_millis: float
    network: float
    memory_bytes: float
    disk_bytes: float
    oom_kills: int


@dataclass(slots=True)
class _Sums:
    cpu: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    memory: float = 0.0
    disk: float = np.nan
    oom: float = 0.0


def hours(
    rows: Sequence[Row], before: Row | None, index_of: Mapping[str, int], ceilings: np.ndarray
) -> list[Hour]:
    """Hours in order, each with a row for every instance of index_of (its id → its row).

    before: the row that came before the first, to compare samples with; ceilings: bytes of memory by
    instance, which is what one held that ran out.
    """
    found: dict[int, dict[int, _Sums]] = {}
    for row in rows:
        seconds, figures = _figures(row, before)
        middle = row.at.timestamp() - seconds / 2
        hour = found.setdefault(int(middle // HOUR_SECONDS), {})
        for name, window in figures.items():
            if name in index_of:
                _add(hour.setdefault(index_of[name], _Sums()), window, ceilings[index_of[name]])
        before = row
    return [_hour(number, found[number], len(index_of)) for number in sorted(found)]


def _add(sums: _Sums, window: WindowFigures, ceiling: float) -> None:
    if len(sums.cpu) == WINDOWS_PER_HOUR + 1:
        return  # windows a little shorter than five minutes
    sums.cpu.append(window.cpu_millis)
    sums.network.append(window.network)
    sums.memory = max(sums.memory, window.memory_bytes)
    sums.disk = window.disk_bytes
    if window.oom_kills:
        sums.oom = max(sums.oom, ceiling, window.memory_bytes)


def _hour(number: int, by_instance: Mapping[int, _Sums], count: int) -> Hour:
    cpu = np.full((count, WINDOWS_PER_HOUR + 1), np.nan)
    network = cpu.copy()
    memory, oom = np.zeros(count), np.zeros(count)
    disk = np.full(count, np.nan)
    for index, sums in by_instance.items():
        cpu[index, : len(sums.cpu)] = sums.cpu
        network[index, : len(sums.network)] = sums.network
        memory[index], disk[index], oom[index] = sums.memory, sums.disk, sums.oom
    return Hour(number=number, cpu=cpu, network=network, memory=memory, disk=disk, oom=oom)


def _figures(row: Row, before: Row | None) -> tuple[float, dict[str, WindowFigures]]:
    """Return seconds of the window, and figures by instance id; {} where there is nothing to compare with."""
    if row.window is not None:
        window = from_wire(UsageWindow, row.window)
        return window.seconds, dict(_of_window(window))
    if before is None:
        return 0.0, {}
    seconds = (row.at - before.at).total_seconds()
    if not 0 < seconds <= HOUR_SECONDS:
        return 0.0, {}
    old = _by_id(before.samples)
    return seconds, {
        name: found
        for name, new in _by_id(row.samples).items()
        if name in old and (found := _between(old[name], new, seconds)) is not None
    }


def _of_window(window: UsageWindow) -> Sequence[tuple[str, WindowFigures]]:
    return [
        (name, WindowFigures(cpu / 1000, tx / window.seconds, memory, disk, kills))
        for name, cpu, memory, tx, disk, kills in zip(
            window.instance_ids,
            window.cpu_micros,
            window.memory_peak_bytes,
            window.tx_bytes,
            window.disk_bytes,
            window.oom_kills,
            strict=True,
        )
    ]


def _between(
    old: Mapping[str, int], new: Mapping[str, int], seconds: float
) -> WindowFigures | None:
    """From two samples of the same container; None when it began anew in between."""
    if new["cpu_nanos"] < old["cpu_nanos"]:
        return None
    cpu_millis = (new["cpu_nanos"] - old["cpu_nanos"]) / seconds / 1e6
    return WindowFigures(
        cpu_millis=cpu_millis,
        network=max(0, new["tx_bytes"] - old["tx_bytes"]) / seconds,
        memory_bytes=max(old["memory_bytes"], new["memory_bytes"]),
        disk_bytes=new["disk_bytes"],
        oom_kills=max(0, new["oom_kills"] - old["oom_kills"]),
    )


def _by_id(samples: object) -> dict[str, Mapping[str, int]]:
    """Samples were checked when they came."""
    listed = samples if isinstance(samples, list) else []
    return {instance["instance_id"]: instance for instance in listed}
