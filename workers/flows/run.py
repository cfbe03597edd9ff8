"""One operation from claim to its end: which flow, and what becomes of the errors it meets.

This is the edge that decides: errors that a wait may cure are repeated, the others end the operation
with a reason that people can read. A lost lease ends the work silently: it is somebody else's now.
"""

import logging
import os
import socket
import threading
from dataclasses import dataclass
from types import ModuleType

from django.db import DatabaseError

from runtime.errors import AppError, HostBusyError, InputError, RuntimeCoreError, StaleFenceError
from tenants.errors import (
    BusyError,
    CancelledError,
    LeaseLostError,
    NoRoomError,
    TenantsError,
    WaitError,
)
from tenants.models import Operation
from tenants.services import leases, operations
from tenants.services.leases import Lease
from tenants.states import Verb
from workers.flows import move, provision, recover, remove, restore
from workers.flows.errors import FlowError, NoCopyError, RouteRefusedError, SwapFailedError
from workers.flows.hands import Hands
from workers.heart import heart

FLOWS: dict[str, ModuleType] = {
    Verb.PROVISION: provision,
    Verb.REPAIR: provision,
    Verb.REMOVE: remove,
    Verb.RECOVER: recover,
    Verb.MOVE: move,
    Verb.RESTORE: restore,
}

log = logging.getLogger(__name__)


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
    (SwapFailedError, ONCE),  # nobody waits under a hold for another try
    (AppError, Patience(attempts=3)),
    (RuntimeCoreError, USUAL),
    (NoCopyError, ONCE),
    (RouteRefusedError, ONCE),
    (FlowError, USUAL),
    (TenantsError, USUAL),
)


def run(operation_pk: int, hands: Hands) -> str:
    """Work on the operation if it is free and due; gives a word for what came of it."""
    lease = leases.claim(operation_pk, owner=owner())
    return "not ours" if lease is None else under(lease, hands)


def under(lease: Lease, hands: Hands) -> str:
    """Work on the operation of a lease; gives a word for what came of it."""
    with heart().hold(lease):
        try:
            return _work(lease, hands)
        except LeaseLostError:
            log.info("operation %s was taken over", lease.operation_id)
            return "taken over"
        except DatabaseError:
            # Nothing can be written down now; the lease runs out and the sweep finds the operation.
            log.exception("operation %s: the database failed", lease.operation_id)
            return "left"


def _work(lease: Lease, hands: Hands) -> str:
    flow = FLOWS[lease.verb]
    if lease.is_spent:
        last = Operation.objects.values_list("error_code", "error_message").get(
            pk=lease.operation_id
        )
        code, message = last[0] or "deadline", last[1] or "it took too long"
        flow.give_up(lease, hands, code=code, message=message)
        return "failed"
    try:
        flow.carry_out(lease, hands)
    except (LeaseLostError, DatabaseError):
        raise
    except CancelledError as error:
        flow.give_up(lease, hands, code=error.code, message="cancelled on request")
        return "cancelled"
    except (TenantsError, RuntimeCoreError, FlowError) as error:
        return _settle(lease, hands, error)
    except Exception as error:
        log.exception("operation %s met a fault of ours", lease.operation_id)
        return _settle(lease, hands, error)
    return "done"


def _settle(lease: Lease, hands: Hands, error: Exception) -> str:
    if isinstance(error, HostBusyError):
        error = BusyError(error.message)
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
    FLOWS[lease.verb].give_up(lease, hands, code=code, message=message)
    return "failed"


def owner() -> str:
    """Who this thread is, for the record."""
    return f"{socket.gethostname()}/{os.getpid()}/{threading.current_thread().name}"
