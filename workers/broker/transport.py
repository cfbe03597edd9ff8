"""Connections to the broker that come back soon, however long it was away, and that cost little per message.

Two things of kombu's took a third of the processor time of control, sweep and agents:

- It makes a client of Redis anew for every command outside its reading loop. Here a channel keeps one.
- It writes every message it has taken into Redis until it is done, to give it out again one day. Nobody needs
  that here: agents work on a call at most once, and what control lost is found in PostgreSQL by the sweep.
  And it looks for such messages under a lock that it gives back by a script, which agents may not run.
"""

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection
from kombu.transport import redis


class _Channel(redis.Channel):
    ack_emulation = False
    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # the reading loop's, which has a connection to itself
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        kept = self._kept
        if kept is None or kept.connection_pool is not self.pool:
            kept = self._kept = super()._create_client()  # type: ignore[misc]
        return kept


class _Transport(redis.Transport):
    Channel = _Channel


class PatientConnection(Connection):
    """Tries again for ever, and at most 2 s apart: Celery's own pauses grow to half a minute."""

    def get_transport_cls(self) -> type[_Transport]:
        """Redis, as above."""
        return _Transport

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect; callers' own bounds on how often stay."""
        pauses = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2}
        return super().ensure_connection(*args, **{**kwargs, **pauses})


class PatientAmqp(AMQP):
    """Celery makes its connections from this class attribute."""

    Connection = PatientConnection
