"""One operation that was claimed, to its end: which flow, and what becomes of the errors it meets.

This is the edge that decides: errors that a wait may cure are repeated, the others end the operation
with a reason that people can read. A lost lease ends the work silently: it is somebody else's now.
"""

import itertools
import logging
import os
import socket
import time
from dataclasses import dataclass
from types import ModuleType

from runtime.errors import (
    AppError,
    DataMissingError,
    HostBusyError,
    InputError,
    RuntimeCoreError,
    StaleFenceError,
)
from tenants import metrics
from tenants.errors import (
    DATABASE_AWAY,
    CancelledError,
    LeaseLostError,
    NoRoomError,
    RouteRefusedError,
    SlotsTakenError,
    TenantsError,
    WaitError,
)
from tenants.models import Operation
from tenants.services import operations
from tenants.services.leases import Lease
from tenants.states import Verb
from workers import heart
from workers.flows import move, provision, recover, remove, restore
from workers.flows.errors import (
    EdgeRefusedError,
    FlowError,
    HostLostError,
    NoCopyError,
    SwapFailedError,
)
from workers.flows.hands import Hands
from workers.flows.returning import AwayError, returns

FLOWS: dict[str, ModuleType] = {
    Verb.PROVISION: provision,
    Verb.REPAIR: provision,
    Verb.REMOVE: remove,
    Verb.RECOVER: recover,
    Verb.MOVE: move,
    Verb.RESTORE: restore,
}

log = logging.getLogger(__name__)
_claims = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long an error is worth another try; None: as the operation allows."""

    attempts: int | None = None
    seconds: float | None = None


ONCE = Patience(attempts=1)
USUAL = Patience()
# The first that matches decides.
PATIENCE: tuple[tuple[type[Exception], Patience], ...] = (
    (WaitError, ONCE),  # it has waited as long as it may
    (NoRoomError, ONCE),  # the pool is full: told at once
    (StaleFenceError, USUAL),  # the next claim brings a higher one
    (InputError, ONCE),
    (DataMissingError, ONCE),  # it does not come by asking again; workers/missing.py looks for it
    (EdgeRefusedError, ONCE),
    (RouteRefusedError, ONCE),
    (SwapFailedError, ONCE),  # nobody waits under a hold for another try
    (AppError, Patience(attempts=3)),
    (RuntimeCoreError, USUAL),
    (NoCopyError, ONCE),
    (HostLostError, ONCE),
    (FlowError, USUAL),
    (TenantsError, USUAL),
)


def under(lease: Lease, hands: Hands, owner: str) -> str:
    """Work on the operation of a lease that this owner's claim got; gives a word for what came of it."""
    with metrics.attempt(lease.operation_id, lease.verb, age_seconds=lease.age_seconds) as attempt:
        attempt.outcome = _under(lease, hands, owner)
    return attempt.outcome


def _under(lease: Lease, hands: Hands, owner: str) -> str:
    try:
        with heart.hold(lease):
            return _work(lease, hands)
    except LeaseLostError:
        log.info("operation %s was taken over", lease.operation_id)
        return "taken over"
    except DATABASE_AWAY as error:
        # Nothing can be written down now.
        log.warning("operation %s: the database failed: %s", lease.operation_id, error)
        returns.add(owner, error)
        return "left"


def _work(lease: Lease, hands: Hands) -> str:
    flow, began = FLOWS[lease.verb], time.monotonic()
    if lease.is_spent:
        last = Operation.objects.values_list("error_code", "error_message").get(
            pk=lease.operation_id
        )
        code, message = last[0] or "deadline", last[1] or "it took too long"
        return _give_up(lease, hands, code, message)
    try:
        flow.carry_out(lease, hands)
    except (LeaseLostError, *DATABASE_AWAY):
        raise
    except CancelledError as error:
        return _give_up(lease, hands, error.code, "cancelled on request")
    except (TenantsError, RuntimeCoreError, FlowError) as error:
        outage = hands.outage(began)
        return _settle(lease, hands, AwayError(outage) if outage else error)
    except Exception as error:
        log.exception("operation %s met a fault of ours", lease.operation_id)
        return _settle(lease, hands, error)
    return "done"


def _settle(lease: Lease, hands: Hands, error: Exception) -> str:
    if isinstance(error, HostBusyError):
        error = SlotsTakenError(error.message)
    if isinstance(error, WaitError) and operations.wait(lease, error):
        return "waits"
    code, message = operations.failure_of(error)
    patience = next((p for kind, p in PATIENCE if isinstance(error, kind)), USUAL)
    if patience is not ONCE and operations.repeat_later(
        lease,
        code=code,
        message=message,
        most_attempts=patience.attempts,
        patience_seconds=patience.seconds,
    ):
        return "again later"
    return _give_up(lease, hands, code, message)


def _give_up(lease: Lease, hands: Hands, code: str, message: str) -> str:
    """End the operation badly, or wait where its flow cannot know yet what it leaves behind."""
    try:
        FLOWS[lease.verb].give_up(lease, hands, code=code, message=message)
    except WaitError as error:
        if not operations.wait(lease, error):
            raise
        return "waits"
    return "cancelled" if code == CancelledError.code else "failed"


def new_owner() -> str:
    """A name for one claim."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}/{next(_claims)}"
