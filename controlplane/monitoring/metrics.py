"""`/metrics`: the control plane in Prometheus' text format, all of its processes at one address.

Every process adds what it has counted to sums in PostgreSQL (controlplane/monitoring/metric_shipping.py);
whichever web process is asked reads these, and the state of the pool, from there. So it does not matter who
is asked.
"""

import threading
import time
from collections.abc import Iterator

import redis
from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rest_framework.request import Request

from tenants.api.authentication import IsOperator, TokenAuthentication
from tenants.api.base import ApiView
from tenants.core import metric_queries
from workers.broker import queues
from workers.broker.commands import broker

# Whoever asks more often gets the same answer: many who watch cost no more than one.
KEPT_SECONDS = 2.0


class _Everything(Collector):
    """What the record and the broker say at this moment."""

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, each once."""
        yield from metric_queries.families()
        lengths = _queue_lengths()
        yield metric_queries.gauge(
            "stoa_broker_up",
            "Whether the broker answered just now.",
            (),
            {(): float(bool(lengths))},
        )
        yield metric_queries.gauge(
            "stoa_queue_messages",
            "Messages that wait in a queue of the broker.",
            ("queue",),
            lengths,
        )


def _queue_lengths() -> dict[tuple[str, ...], float]:
    """By queue; {} when the broker does not answer."""
    names = (queues.CONTROL, queues.WAKE, queues.SWEEP, queues.OBSERVE)
    try:
        with broker().pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(name)
            return {
                (name,): float(length) for name, length in zip(names, pipe.execute(), strict=True)
            }
    except (redis.RedisError, OSError):
        return {}


def read() -> bytes:
    """Return all metrics of this moment, as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Everything())
    return generate_latest(registry)


_lock = threading.Lock()
_text = b""
_read_at = float("-inf")


def text() -> bytes:
    """Return all metrics, at most KEPT_SECONDS old."""
    global _text, _read_at  # noqa: PLW0603 - what this process keeps for all who ask
    with _lock:
        if time.monotonic() - _read_at >= KEPT_SECONDS:
            _text = read()
            _read_at = time.monotonic()
        return _text


class MetricsView(ApiView):
    """For programs with an operator's token; a browser's session opens it to nobody."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsOperator]
    schema = None

    def get(self, request: Request) -> HttpResponse:
        """The metrics."""
        return HttpResponse(text(), content_type=CONTENT_TYPE_LATEST)
