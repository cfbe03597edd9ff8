"""How good a host is for an instance, from 0 (worst) to 1 (best): pure formulas, weighed in place.py."""

from collections.abc import Callable

from workers.scheduler.values import HostView, InstanceView

Scorer = Callable[[HostView, InstanceView], float]


def fullness(host: HostView, instance: InstanceView) -> float:
    """Best fit: the share of the host's scarcest resource in use once the instance is there."""
    after = host.booked.plus(instance.demand)
    return max(
        _share(after.cpu_millis, host.offered.cpu_millis),
        _share(after.memory_bytes, host.offered.memory_bytes),
        _share(after.disk_bytes, host.offered.disk_bytes),
    )


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole > 0 else 1.0


SCORERS: tuple[tuple[Scorer, float], ...] = ((fullness, 1.0),)
