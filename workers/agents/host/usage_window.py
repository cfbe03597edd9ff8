"""What instances used over five minutes, made of samples every ten seconds.

Control keeps one row of it per host, so it must say what happened between two rows: how high the
processor went, how much memory was held at most, how often memory ran out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime.units import Sample, UsageWindow, grown

WINDOW_SECONDS = 300.0
# From one sample to the next the processor may seem busier than it can be, when a sample came late.
_LEAST_SECONDS = 1.0


@dataclass(slots=True)
class _Seen:
    """One instance in the window that is going on: sums since it began, highest so far."""

    last: Sample
    cpu_nanos: int = 0
    cpu_peak_micros: int = 0
    memory_peak_bytes: int = 0
    tx_bytes: int = 0
    oom_kills: int = 0


class Windows:
    """Collects samples into windows. For one thread."""

    def __init__(self, seconds: float = WINDOW_SECONDS) -> None:
        self._seconds = seconds
        self._seen: dict[str, _Seen] = {}
        self._began: float | None = None
        self._noted_at = 0.0
        self._number = 0
        self._closed: UsageWindow | None = None
        self._closed_at = 0.0

    def note(self, now: float, samples: Sequence[Sample]) -> None:
        """Take the samples of one moment (monotonic seconds); closes the window when it is long enough."""
        if self._began is None:
            self._began = now
        elapsed = max(now - self._noted_at, _LEAST_SECONDS)
        present = {}
        for sample in samples:
            seen = self._seen.get(sample.instance_id)
            present[sample.instance_id] = (
                _Seen(sample, memory_peak_bytes=sample.memory_bytes)
                if seen is None
                else _with(seen, sample, elapsed)
            )
        self._seen = present  # what is gone has had its part in the windows before
        self._noted_at = now
        if now - self._began >= self._seconds:
            self._close(now)

    def last(self, now: float) -> UsageWindow | None:
        """Return the window that was closed last, with its age; None before the first."""
        if self._closed is None:
            return None
        return replace(self._closed, age_seconds=round(max(0.0, now - self._closed_at), 1))

    def _close(self, now: float) -> None:
        began = now if self._began is None else self._began
        seconds = now - began
        self._number += 1
        seen = sorted(self._seen.items())
        self._closed = UsageWindow(
            number=self._number,
            seconds=round(seconds, 1),
            age_seconds=0.0,
            instance_ids=tuple(name for name, _ in seen),
            cpu_micros=tuple(round(figures.cpu_nanos / seconds / 1000) for _, figures in seen),
            cpu_peak_micros=tuple(figures.cpu_peak_micros for _, figures in seen),
            memory_peak_bytes=tuple(figures.memory_peak_bytes for _, figures in seen),
            tx_bytes=tuple(figures.tx_bytes for _, figures in seen),
            disk_bytes=tuple(figures.last.disk_bytes for _, figures in seen),
            oom_kills=tuple(figures.oom_kills for _, figures in seen),
        )
        self._closed_at = self._began = now
        self._seen = {
            name: _Seen(figures.last, memory_peak_bytes=figures.last.memory_bytes)
            for name, figures in seen
        }


def _with(seen: _Seen, sample: Sample, elapsed: float) -> _Seen:
    used = grown(seen.last.cpu_nanos, sample.cpu_nanos)
    seen.cpu_nanos += used
    seen.cpu_peak_micros = max(seen.cpu_peak_micros, round(used / elapsed / 1000))
    seen.memory_peak_bytes = max(seen.memory_peak_bytes, sample.memory_bytes)
    seen.tx_bytes += grown(seen.last.tx_bytes, sample.tx_bytes)
    seen.oom_kills += grown(seen.last.oom_kills, sample.oom_kills)
    seen.last = sample
    return seen
