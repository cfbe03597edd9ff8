"""The control plane's Celery app: queues `control`, `wake`, `sweep` and `observe`.

Hosts and edges run apps of their own (workers/agents), without Django and with their own broker user.
"""

import os
from typing import Any

from celery import Celery
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup  # type: ignore[attr-defined]
from celery.signals import setup_logging, worker_ready
from kombu.utils.objects import cached_property

from controlplane.monitoring import pulse  # noqa: F401 - connects itself to the worker's start
from settings import inner
from workers.broker.transport import PatientAmqp
from workers.schedule import SCHEDULE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")


class _KeptConnections(DjangoWorkerFixup):  # type: ignore[misc]
    """Celery's own closes the database connection before and after each task, which costs 4 ms each time."""

    def close_database(self, **_: Any) -> None:
        """Close what is too old; what is dead is replaced at its next use (controlplane/database)."""
        from django.db import close_old_connections

        close_old_connections()


class _Fixup(DjangoFixup):
    @cached_property
    def worker_fixup(self) -> DjangoWorkerFixup:
        return _KeptConnections(self.app)


app = Celery("stoa", amqp=PatientAmqp, fixups=[lambda made: _Fixup(made).install()])  # type: ignore[list-item]
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = SCHEDULE


@worker_ready.connect
def connect_ahead(sender: Any = None, **_: Any) -> None:
    """Have the threads that work on operations connect to the database before somebody waits for them."""
    if inner.PROGRAM.of(os.environ) == "control":
        from controlplane.database.warm import warm

        warm(sender.pool.executor.submit, sender.pool.limit)


@worker_ready.connect
def begin_shipping(**_: Any) -> None:
    """Have the worker add what it counts to the sums of /metrics."""
    from controlplane.monitoring import metric_shipping

    metric_shipping.begin_shipping()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Connected only so that Celery leaves alone the JSON logging that the settings configure."""
