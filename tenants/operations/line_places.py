"""Places in the line of starts, as people read them: how many are before them, and for how long.

All who wait are read once a second and process, however many pages are open; each place is found in that by
bisection. What is shown is rounded where nobody counts, so that pages need not be drawn anew all the time.
"""

import threading
import time
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from tenants.states import LINE_VERBS, PEOPLE_VERBS

READ_EVERY_SECONDS = 1.0
# With so many or more before it, this number is shown.
MOST_READ = 20_000
# A rate from fewer starts, or from starts of longer ago, says nothing.
LEAST_STARTS, MOST_STARTS, RATE_SECONDS = 5, 64, 60

_PEOPLE = tuple(verb.value for verb in PEOPLE_VERBS)
_WAITING = """
SELECT {people}, extract(epoch FROM queued_at)::float8 FROM (
    SELECT queued_at FROM tenants_operation
     WHERE state = 'pending' AND is_in_line AND verb IN {verbs}
     ORDER BY queued_at, id LIMIT %(most)s) AS {name}
"""
_READ = f"""
{_WAITING.format(people="TRUE", verbs="('provision', 'restore')", name="people")}
UNION ALL
{_WAITING.format(people="FALSE", verbs="('recover', 'repair')", name="urgent")}
"""
_RATE = """
SELECT count(*), extract(epoch FROM max(finished_at) - min(finished_at))::float8 FROM (
    SELECT finished_at FROM tenants_operation
     WHERE state = 'succeeded' AND verb IN ('provision', 'restore')
       AND finished_at > statement_timestamp() - %(seconds)s * interval '1 second'
     ORDER BY finished_at DESC LIMIT %(starts)s) AS newest
"""


@dataclass(frozen=True, slots=True)
class PlaceInLine:
    """ahead: how many start before, rounded; seconds: until its own start, None when that is not known."""

    ahead: int
    seconds: int | None


@dataclass(frozen=True, slots=True)
class StartLine:
    """All who wait at one moment, each lane in its order, and how many start a second."""

    people: list[float]
    urgent: list[float]
    rate: float | None

    def place(self, verb: str, queued_at: datetime) -> PlaceInLine:
        """Return the place in the line of an operation that waits since queued_at."""
        mine, others = self.people, self.urgent
        # Of what starts, people have at least a quarter, so three others at most come before each.
        share = 3.0
        if verb not in _PEOPLE:
            mine, others, share = others, mine, 1 / 3
        before = bisect_left(mine, queued_at.timestamp() - 5e-7)
        ahead = before + min(len(others), int(share * (before + 1)))
        seconds = None if self.rate is None else _rounded(round((ahead + 1) / self.rate))
        return PlaceInLine(_rounded(ahead), seconds)


_lock = threading.Lock()
_line = StartLine([], [], None)
_read_at = float("-inf")


def place(verb: str, queued_at: datetime) -> PlaceInLine | None:
    """Return the place of an operation in the line; None for a verb that does not wait in it."""
    return current().place(verb, queued_at) if verb in LINE_VERBS else None


def current() -> StartLine:
    """Return the line, at most READ_EVERY_SECONDS old."""
    global _line, _read_at  # noqa: PLW0603 - what this process keeps for all pages
    with _lock:
        if time.monotonic() - _read_at >= READ_EVERY_SECONDS:
            _line = read()
            _read_at = time.monotonic()
        return _line


def read() -> StartLine:
    """Return the line as it is now; two statements."""
    people: list[float] = []
    urgent: list[float] = []
    with connection.cursor() as cursor:
        cursor.execute(_READ, {"most": MOST_READ})
        for is_people, moment in cursor.fetchall():
            (people if is_people else urgent).append(moment)
        cursor.execute(_RATE, {"seconds": RATE_SECONDS, "starts": MOST_STARTS})
        count, seconds = cursor.fetchone()
    rate = (count - 1) / seconds if count >= LEAST_STARTS and seconds else None
    return StartLine(people, urgent, rate)


def _rounded(amount: int) -> int:
    """Exact up to 20, then to tens, then to hundreds."""
    step = 1 if amount <= 20 else 10 if amount <= 200 else 100
    return -(-amount // step) * step
