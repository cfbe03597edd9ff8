"""Has the threads of a pool connect before anybody waits for them.

The first statements of a session cost PostgreSQL about 15 ms: it starts a process, which then reads what is
known of every table it meets. Twenty people who came at once after a quiet hour waited for twenty of these.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from django.apps import apps
from django.db import DatabaseError, connection

# What a sign-up and its operation read and write.
_MODELS = (
    "ApiToken",
    "App",
    "Edge",
    "FirstLogin",
    "FreezeSwitch",
    "Host",
    "HostReport",
    "Instance",
    "Member",
    "Membership",
    "Operation",
    "Placement",
    "Plan",
    "Prior",
    "Release",
    "Route",
    "Shortage",
    "Step",
    "Tenant",
    "Transition",
)
_WAIT_SECONDS = 5.0

log = logging.getLogger(__name__)


def warm(submit: Callable[[Callable[[], None]], object], threads: int) -> None:
    """Have every thread of a pool connect and meet the tables; returns at once.

    submit: gives a function to the pool. A database that is away is no error: the first use tries again.
    """
    everyone = threading.Barrier(threads)

    def begin() -> None:
        # Who has begun waits for the others: so no thread takes the turn of another.
        with suppress(threading.BrokenBarrierError):
            everyone.wait(_WAIT_SECONDS)
        try:
            meet_tables()
        except DatabaseError as error:
            log.info("not connected ahead of the first use: %s", error)

    for _ in range(threads):
        submit(begin)


def meet_tables() -> None:
    """Ask this thread's session for no row of each table. DatabaseError."""
    models = [apps.get_model("tenants", name) for name in _MODELS]
    none_of_each = " UNION ALL ".join(
        f'SELECT 1 FROM "{model._meta.db_table}" WHERE "{model._meta.pk.column}" = 0'  # noqa: S608, SLF001
        for model in models
    )
    with connection.cursor() as cursor:
        cursor.execute(none_of_each)
