"""Runs a periodic task at most once at a time in the whole system, and writes down that it ran."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import ParamSpec
from zlib import crc32

from django.db import connection
from django.db.models.functions import Now

from tenants.models import PeriodicRun

# The two numbers of an advisory lock: ours, and the task's.
_OURS = 0x570A


_P = ParamSpec("_P")


def once(name: str) -> Callable[[Callable[_P, str]], Callable[_P, str]]:
    """Wrap a function that does one round and tells in a sentence what it did, "" for nothing.

    Where another process is at the same round, it does nothing.
    """

    def wrap(work: Callable[_P, str]) -> Callable[_P, str]:
        @wraps(work)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> str:
            with _lock(name) as started_at:
                if started_at is None:
                    return "another process is at it"
                note = work(*args, **kwargs)
                _write(name, started_at, note)
                return note

        return run

    return wrap


@contextmanager
def _lock(name: str) -> Iterator[datetime | None]:
    key = [_OURS, crc32(name.encode()) & 0x7FFFFFFF]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s), statement_timestamp()", key)
        is_ours, now = cursor.fetchone()
    if not is_ours:
        yield None
        return
    try:
        yield now
    finally:
        # A session that broke has lost its locks already.
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)


def _write(name: str, started_at: datetime, note: str) -> None:
    PeriodicRun.objects.bulk_create(
        [PeriodicRun(name=name, started_at=started_at, finished_at=Now(), note=note[:300])],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["started_at", "finished_at", "note"],
    )
