"""Hands open operations over to the workers, on commit, and never waits for a broken broker.

A lost message costs time, not work: the sweep finds every open operation that nobody holds.
"""

import logging
import time
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

RUN_OPERATION = "workers.run_operation"
CONTROL_QUEUE = "control"

# After one failure the broker is left alone this long: a sign-up must not wait for it each time.
BREAKER_SECONDS = 5.0

log = logging.getLogger(__name__)
_quiet_until = 0.0


def hand_over(operation_pk: int) -> None:
    """Ask a control worker to run the operation once the surrounding transaction has committed."""
    # robust: by then the operation stands, so nothing that goes wrong here may fail the request.
    transaction.on_commit(partial(_send, operation_pk), robust=True)


def _send(operation_pk: int) -> None:
    global _quiet_until  # noqa: PLW0603 - one breaker per process is the point
    if time.monotonic() < _quiet_until:
        return
    try:
        current_app.send_task(
            RUN_OPERATION, args=[operation_pk], queue=CONTROL_QUEUE, retry=False, ignore_result=True
        )
    except (OperationalError, RedisError, OSError) as error:
        _quiet_until = time.monotonic() + BREAKER_SECONDS
        log.warning("broker unreachable, the sweep will take operation %s: %s", operation_pk, error)
