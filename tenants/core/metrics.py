"""What a process of the control plane counts: every name, label and bucket stands here.

`/metrics` (controlplane/monitoring/metrics.py) shows the sums over all processes. A label says what kind of
thing it was; none names a tenant, a host or an edge, so the number of series does not grow with the pool.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kombu.exceptions import OperationalError
from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from redis.exceptions import RedisError

# Apart from the client's own: nothing that other libraries register is shipped.
REGISTRY = CollectorRegistry()

# A claim or an answer takes milliseconds; a step, minutes; an operation that waits for room, hours.
_STATEMENT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
_STEP = (0.01, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0)
_OPERATION = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)

CLAIM = Histogram(
    "stoa_operation_claim_duration_seconds",
    "How long the statement took that claims an operation.",
    buckets=_STATEMENT,
    registry=REGISTRY,
)
DUE = Histogram(
    "stoa_operation_due_seconds",
    "How long an operation was due before a worker claimed it.",
    ["verb"],
    buckets=_OPERATION,
    registry=REGISTRY,
)
STEP = Histogram(
    "stoa_operation_step_duration_seconds",
    "How long a step took, until the next began or the attempt ended.",
    ["verb", "step"],
    buckets=_STEP,
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "stoa_operation_attempts",
    "Attempts at operations, by what came of them.",
    ["verb", "outcome"],
    registry=REGISTRY,
)
OPERATION = Histogram(
    "stoa_operation_duration_seconds",
    "How long an operation took from the moment it was asked for to its end.",
    ["verb", "outcome"],
    buckets=_OPERATION,
    registry=REGISTRY,
)
CALL = Histogram(
    "stoa_call_duration_seconds",
    "How long a call to agents took, with its answer.",
    ["call"],
    buckets=_STEP,
    registry=REGISTRY,
)
CALL_ERRORS = Counter(
    "stoa_call_errors",
    "Calls to agents that ended in an error, by its code.",
    ["code"],
    registry=REGISTRY,
)
PLACEMENTS = Counter(
    "stoa_placements",
    "Places that were booked on hosts: for a start, or as the second place of a move.",
    ["kind"],
    registry=REGISTRY,
)
REFUSALS = Counter(
    "stoa_placement_refusals",
    "Requests for a place that found none: who asked, and the scarce resource or other reason.",
    ["asked_by", "reason"],
    registry=REGISTRY,
)
ROUND = Summary(
    "stoa_round_duration_seconds",
    "How long the rounds of a periodic task took.",
    ["round"],
    registry=REGISTRY,
)
ROUND_FAILURES = Counter(
    "stoa_round_failures",
    "Rounds of a periodic task that ended in an error.",
    ["round"],
    registry=REGISTRY,
)
DEPENDENCY_ERRORS = Counter(
    "stoa_dependency_errors",
    "What PostgreSQL, Redis or the broker failed at, by what was asked of it.",
    ["dependency", "operation"],
    registry=REGISTRY,
)

# How an attempt ends that ends the operation.
ENDS = ("done", "failed", "cancelled")


@dataclass(slots=True)
class Attempt:
    """One attempt at an operation; outcome is the word of workers/flows/running/run.py for what came of
    it.
    """

    outcome: str = "error"


@contextmanager
def attempt(operation_id: int, verb: str, *, age_seconds: float) -> Iterator[Attempt]:
    """Measure an attempt. age_seconds: how long ago the operation was asked for."""
    began, made = time.monotonic(), Attempt()
    try:
        yield made
    finally:
        outcome = made.outcome.replace(" ", "_")
        ATTEMPTS.labels(verb, outcome).inc()
        if outcome in ENDS:
            OPERATION.labels(verb, outcome).observe(age_seconds + time.monotonic() - began)
        _end_step(operation_id)


class _Steps(threading.local):
    """The step this thread is at: the operation, its verb, the step's name, and when it began."""

    at: tuple[int, str, str, float] | None = None


_steps = _Steps()


def begin_step(operation_id: int, verb: str, name: str) -> None:
    """Note that this thread begins a step; the one before it is over. A repeat changes nothing."""
    if _steps.at is not None and _steps.at[:3] == (operation_id, verb, name):
        return
    _end_step(operation_id)
    _steps.at = (operation_id, verb, name, time.monotonic())


def _end_step(operation_id: int) -> None:
    at, _steps.at = _steps.at, None
    if at is not None and at[0] == operation_id:
        STEP.labels(at[1], at[2]).observe(time.monotonic() - at[3])


@contextmanager
def call(name: str) -> Iterator[None]:
    """Measure a call to agents, and count the error it ends in."""
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        failed_call(error)
        raise
    finally:
        CALL.labels(name).observe(time.monotonic() - began)


def failed_call(error: Exception) -> None:
    """Count a call that ended in an error."""
    CALL_ERRORS.labels(str(getattr(error, "code", "internal"))).inc()


@contextmanager
def round_of(name: str) -> Iterator[None]:
    """Measure one round of a periodic task, and count it as failed where it raises."""
    began = time.monotonic()
    try:
        yield
    except BaseException as error:
        ROUND_FAILURES.labels(name).inc()
        if isinstance(error, RedisError):
            DEPENDENCY_ERRORS.labels("redis", "round").inc()
        elif isinstance(error, OperationalError):
            DEPENDENCY_ERRORS.labels("broker", "publish").inc()
        raise
    finally:
        ROUND.labels(name).observe(time.monotonic() - began)
