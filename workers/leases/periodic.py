"""Runs a periodic task at most once at a time in the whole system, and writes down that it ran."""

import logging
import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, wraps
from threading import Lock
from typing import ParamSpec
from uuid import uuid4

from django.db import Error as DatabaseError
from django.db import connection

from tenants.core import metrics
from tenants.core.models import PeriodicRun
from tenants.errors import LeaseLostError
from workers.leases.lease_renewer import LeaseRenewer

# A process that dies in the middle of a round is waited for so long.
LEASE_SECONDS = 6.0
# Rounds come every two seconds. With a longer pause between two of them somebody was away: the broker,
# the database, or the program that asks for rounds.
UNBROKEN_SECONDS = 6.0

log = logging.getLogger(__name__)

_TAKE = """
INSERT INTO tenants_periodicrun AS run (name, started_at, note, lease_owner, lease_until)
VALUES (%(name)s, statement_timestamp(), '', %(owner)s,
        statement_timestamp() + %(seconds)s * interval '1 second')
    ON CONFLICT (name) DO UPDATE
   SET started_at = excluded.started_at, lease_owner = excluded.lease_owner,
       lease_until = excluded.lease_until
 WHERE run.lease_until IS NULL OR run.lease_until < statement_timestamp()
    OR run.lease_owner = excluded.lease_owner
RETURNING 1
"""
_RENEW = """
UPDATE tenants_periodicrun
   SET lease_until = statement_timestamp() + %(seconds)s * interval '1 second'
 WHERE name = %(name)s AND lease_owner = %(owner)s
"""
_GIVE_BACK = """
UPDATE tenants_periodicrun SET lease_owner = '', lease_until = NULL
 WHERE name = %(name)s AND lease_owner = %(owner)s
"""
_FINISH = """
UPDATE tenants_periodicrun
   SET finished_at = statement_timestamp(), note = %(note)s, lease_owner = '', lease_until = NULL,
       unbroken_since = CASE WHEN finished_at >= started_at - %(pause)s * interval '1 second'
                             THEN COALESCE(unbroken_since, started_at) ELSE started_at END
 WHERE name = %(name)s AND lease_owner = %(owner)s
"""


@dataclass(frozen=True, slots=True)
class _Turn:
    """The right to one round of a task."""

    name: str
    owner: str

    def run(self, statement: str, **more: str | float) -> bool:
        """Return whether the statement found the turn's row."""
        values: dict[str, str | float] = {
            "name": self.name,
            "owner": self.owner,
            "seconds": LEASE_SECONDS,
        }
        with connection.cursor() as cursor:
            cursor.execute(statement, values | more)
            return bool(cursor.rowcount)

    def renew(self) -> None:
        """Hold on to it. Raises LeaseLostError."""
        if not self.run(_RENEW):
            raise LeaseLostError(f"another process has begun a round of {self.name}")


_P = ParamSpec("_P")


def once(name: str) -> Callable[[Callable[_P, str]], Callable[_P, str]]:
    """Wrap a function that does one round and tells in a sentence what it did, "" for nothing.

    Where another process is at the same round, it does nothing.
    """
    here = Lock()

    def wrap(work: Callable[_P, str]) -> Callable[_P, str]:
        @wraps(work)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> str:
            turn = _Turn(name, _owner())
            if not here.acquire(blocking=False):
                return "another thread is at it"
            try:
                if not turn.run(_TAKE):
                    return "another process is at it"
                with metrics.round_of(name), _held(turn):
                    note = work(*args, **kwargs)
                    if not turn.run(_FINISH, note=note[:300], pause=UNBROKEN_SECONDS):
                        log.warning("a round of %s took so long that another began", name)
                    return note
            finally:
                here.release()

        return run

    return wrap


def in_turn(*rounds: Callable[[], str]) -> str:
    """Run several rounds one after another; return what they reported.

    One that fails stops none behind it; the first error is raised at the end. While one takes long, the
    thread of the next message runs the others.
    """
    sentences: list[str] = []
    failure: Exception | None = None
    for work in rounds:
        try:
            sentences.append(work())
        except Exception as error:
            if failure is not None:  # the first is raised, and logged there
                log.exception("another round failed, too")
            failure = failure or error
    if failure is not None:
        raise failure
    return "; ".join(filter(None, sentences))


def database_now() -> datetime:
    """PostgreSQL's clock, by which everything that is written down is timed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def unbroken_for(name: str, *, now: datetime) -> float:
    """For how many seconds a task's rounds have ended well without a gap; 0 while they do not.

    Where it was never asked for, nothing speaks against it: infinite.
    """
    row = PeriodicRun.objects.filter(name=name).first()
    if row is None:
        return math.inf
    if row.finished_at is None or row.unbroken_since is None:
        return 0.0
    if now - row.finished_at > timedelta(seconds=UNBROKEN_SECONDS):
        return 0.0
    return max(0.0, (now - row.unbroken_since).total_seconds())


@contextmanager
def _held(turn: _Turn) -> Iterator[None]:
    try:
        with _heart().hold(turn, turn.renew):
            yield
    except BaseException:
        try:
            turn.run(_GIVE_BACK)
        except DatabaseError as error:
            log.info("the turn at %s runs out by itself: %s", turn.name, error)
        raise


@lru_cache(maxsize=1)
def _heart() -> LeaseRenewer:
    return LeaseRenewer(beat_seconds=LEASE_SECONDS / 3)


@lru_cache(maxsize=1)
def _owner() -> str:
    """Return the name of this process, which it keeps when it connects again."""
    return f"{socket.gethostname()[:30]}/{os.getpid()}/{uuid4().hex[:8]}"
