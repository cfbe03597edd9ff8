"""The control plane's own few commands to the broker, each bounded to about a second."""

from functools import lru_cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

SECONDS = 1.0


@lru_cache(maxsize=1)
def broker() -> redis.Redis:
    """Return this process's client; one more try on a connection that has gone stale, none on a time-out."""
    return redis.Redis.from_url(
        settings.STOA_BROKER_URL,
        protocol=2,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def queue_length(queue: str) -> int:
    """Return how many messages wait in a queue."""
    return int(broker().llen(queue))
