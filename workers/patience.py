"""Connections to the broker that come back soon, however long it was away."""

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection


class PatientConnection(Connection):
    """Tries again for ever, and at most 2 s apart: Celery's own pauses grow to half a minute."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect; callers' own bounds on how often stay."""
        pauses = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2}
        return super().ensure_connection(*args, **{**kwargs, **pauses})


class PatientAmqp(AMQP):
    """Celery makes its connections from this class attribute."""

    Connection = PatientConnection
