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

from tenants.core import metrics

RUN_OPERATION = "workers.run_operation"
CONTROL_QUEUE = "control"
APPLY_BROKER_USERS = "workers.apply_broker_users"
SWEEP_QUEUE = "sweep"

# After one failure the broker is left alone this long: a sign-up must not wait for it each time.
BREAKER_SECONDS = 5.0

log = logging.getLogger(__name__)
_quiet_until = 0.0


def hand_over(operation_pk: int) -> None:
    """Ask a control worker to run the operation once the surrounding transaction has committed.

    0: the next operation in the line of starts.
    """
    # robust: by then the operation stands, so nothing that goes wrong here may fail the request.
    transaction.on_commit(partial(_send, operation_pk), robust=True)


def apply_broker_users() -> None:
    """Have the broker's users made those of the record, on commit: a host came, or must lose its own at once.

    Lost, it is asked for again within two seconds anyway.
    """
    transaction.on_commit(partial(_ask, APPLY_BROKER_USERS, [], SWEEP_QUEUE), robust=True)


def _send(operation_pk: int) -> None:
    _ask(RUN_OPERATION, [operation_pk], CONTROL_QUEUE)


def _ask(task: str, args: list[int], queue: str) -> None:
    global _quiet_until  # noqa: PLW0603 - one breaker per process is the point
    if time.monotonic() < _quiet_until:
        return
    try:
        current_app.send_task(task, args=args, queue=queue, retry=False, ignore_result=True)
    except (OperationalError, RedisError, OSError) as error:
        _quiet_until = time.monotonic() + BREAKER_SECONDS
        metrics.DEPENDENCY_ERRORS.labels("broker", "publish").inc()
        log.warning("broker unreachable, the sweep will see to %s %s: %s", task, args, error)
