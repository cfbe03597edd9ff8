"""Each worker process says every two seconds that it is there; one kind of them tells of outages.

What it says is written by a thread beside the tasks, over the same kind of connection, and holds what only
the process itself knows: whether it hears the broker, and since when no task has begun or ended. An outage
that lasts is an alarm until it is over. An outage of the database itself can be reported only afterwards.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from django.conf import settings
from django.db import DatabaseError
from django.db.models.functions import Now

log = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
# Shorter ones nobody needs to look at: programs that are restarted, a slow second.
WORTH_AN_ALARM_SECONDS = 6.0
_WATCHER = "sweep"


class Pulse:
    """The thread. hears_broker: whether the process has a connection to take tasks from."""

    def __init__(self, program: str, *, hears_broker: Callable[[], bool]) -> None:
        self._program = program
        self._name = f"{program}@{socket.gethostname()[:60]}/{os.getpid()}"
        self._hears_broker = hears_broker
        self._moved_at = time.monotonic()
        self._outages = Outages()

    def start(self) -> None:
        """Begin; the thread lives as long as the process."""
        signals.task_prerun.connect(self._moved, weak=False)
        signals.task_postrun.connect(self._moved, weak=False)
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def beat(self) -> None:
        """Say that we are there. DatabaseError when that cannot be written."""
        from tenants.core.models import ProgramBeat

        ProgramBeat.objects.update_or_create(
            name=self._name,
            defaults={
                "program": self._program,
                "at": Now(),
                "hears_broker": self._hears_broker(),
                "idle_seconds": time.monotonic() - self._moved_at,
            },
        )

    def _moved(self, **_: Any) -> None:
        self._moved_at = time.monotonic()

    def _run(self) -> None:
        while True:
            try:
                self.beat()
                if self._program == _WATCHER:
                    self._outages.look(time.monotonic())
            except DatabaseError as error:
                self._outages.database_failed(time.monotonic(), str(error).strip())
            except Exception:
                log.exception("a beat failed unexpectedly")
            time.sleep(PERIOD_SECONDS)


class Outages:
    """What of the control plane itself is unwell, since when, and the alarms about it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._database: tuple[float, str] | None = None

    def database_failed(self, now: float, error: str) -> None:
        """Remember since when the database has been away; nothing can be written meanwhile."""
        if self._database is None:
            self._database = (now, error)
            log.warning("the database is away: %s", error)

    def look(self, now: float) -> None:
        """Ask every part, and keep the alarms true. DatabaseError while the database is away."""
        from controlplane.monitoring import health
        from tenants.core import alarms
        from tenants.core.alarm_kinds import OUTAGE

        unwell = {part.name: part.problem for part in health.web_parts() if not part.is_well}
        if "database" in unwell:
            raise DatabaseError(unwell["database"])
        if self._database is not None:
            since, error = self._database
            self._database = None
            if now - since >= WORTH_AN_ALARM_SECONDS:
                words = f"the database was away for {now - since:.0f} s, until now: {error}"
                alarms.keep("outage", {OUTAGE.key("database"): words})
                log.warning(words)
        self._since = {name: self._since.get(name, now) for name in unwell}
        lasting = {
            OUTAGE.key(name): f"{name}: {problem}"
            for name, problem in unwell.items()
            if now - self._since[name] >= WORTH_AN_ALARM_SECONDS
        }
        alarms.keep("outage", lasting)


@signals.worker_ready.connect
def begin(sender: Any = None, **_: Any) -> None:
    """Called by Celery once its consumer is connected."""
    Pulse(settings.STOA_PROGRAM, hears_broker=lambda: _is_connected(sender)).start()


def _is_connected(consumer: Any) -> bool:
    connection = getattr(consumer, "connection", None)
    return connection is not None and bool(connection.connected)
