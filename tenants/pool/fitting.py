"""Whether what one host holds has room on others: asked here, answered by the scheduler."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.utils.module_loading import import_string

from tenants.pool.models import Host


@dataclass(frozen=True, slots=True)
class Amounts:
    """What shops are booked at together."""

    cpu_millis: float
    memory_bytes: float
    disk_bytes: float


@dataclass(frozen=True, slots=True)
class Fit:
    """How many of how many fit, and how much is wanted by the rest together."""

    count: int
    fitting: int
    missing: Amounts

    @property
    def is_whole(self) -> bool:
        """Whether all fit."""
        return self.fitting == self.count


def look(host: Host) -> Fit:
    """Ask the scheduler that places shops: the moves that follow can then keep what is promised here."""
    return _judge()(host)


@lru_cache(maxsize=1)
def _judge() -> Callable[[Host], Fit]:
    found: Callable[[Host], Fit] = import_string(settings.DRAIN_JUDGE)
    return found
