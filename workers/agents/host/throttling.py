"""Which instances are held back by their processor limit, and have been for a minute.

Worked out on the host, from readings it has anyway: shipping them all every few seconds to find the few
that matter would cost more than it tells. What comes out is a level with hysteresis, so that it changes
the inventory's digest when it begins and when it ends, and not in between.
"""

from collections import deque
from collections.abc import Mapping

from runtime.units import grown
from runtime.wire import JsonValue

WINDOW_SECONDS = 60.0
BEGINS_PERCENT = 25
ENDS_PERCENT = 15
_NANOS = 1_000_000_000

Readings = Mapping[str, int]


class Throttling:
    """Remembers the readings of the last minute. For one thread."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Readings]] = deque()
        # While it lasts: the share it began with.
        self._held_back: dict[str, int] = {}
        self._known: frozenset[str] = frozenset()

    def note(self, at: float, throttled_nanos: Readings) -> None:
        """Take a reading: instance → nanoseconds held back since its container started.

        at: seconds of the monotonic clock.
        """
        self._readings.append((at, throttled_nanos))
        while len(self._readings) > 1 and at - self._readings[1][0] >= WINDOW_SECONDS:
            self._readings.popleft()
        began, first = self._readings[0]
        if at - began < WINDOW_SECONDS:
            return
        percents = {
            instance_id: percent(first[instance_id], now, at - began)
            for instance_id, now in throttled_nanos.items()
            if instance_id in first
        }
        for instance_id, share in percents.items():
            if share >= BEGINS_PERCENT:
                self._held_back.setdefault(instance_id, share)
            elif share < ENDS_PERCENT:
                self._held_back.pop(instance_id, None)
        for gone in self._held_back.keys() - throttled_nanos.keys():
            del self._held_back[gone]
        self._known = frozenset(percents)

    def shown(self, instance_id: str) -> dict[str, JsonValue]:
        """`throttled_percent` as it goes into the inventory: 0 when not held back; {} while not known."""
        if instance_id in self._held_back:
            return {"throttled_percent": self._held_back[instance_id]}
        return {"throttled_percent": 0} if instance_id in self._known else {}


def percent(before: int, after: int, seconds: float) -> int:
    """Return the share of the time held back, 0 to 100."""
    return min(100, round(100 * grown(before, after) / (seconds * _NANOS)))
