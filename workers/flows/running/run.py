"""One operation that was claimed, to its end: which flow, and what becomes of the errors it meets.

This is the edge that decides: errors that a wait may cure are repeated, the others end the operation
with a reason that people can read. A lost lease ends the work silently: it is somebody else's now.
"""

import itertools
import logging
import os
import socket
import time

from runtime.errors import (
    AppError,
    DataMissingError,
    HostBusyError,
    InputError,
    RuntimeCoreError,
    StaleFenceError,
)
from tenants.core import metrics
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
from tenants.operations import attempts
from tenants.operations.leases import Lease
from workers.flows.clients import Clients
from workers.flows.errors import (
    EdgeRefusedError,
    FlowError,
    HostLostError,
    NoCopyError,
    SwapFailedError,
    UndoError,
)
from workers.flows.running import runner
from workers.flows.running.flow import Context, Flow
from workers.flows.running.returning import AwayError, returns
from workers.flows.tables import TABLES
from workers.leases import lease_renewer

log = logging.getLogger(__name__)
_claims = itertools.count(1)


# How often an operation is tried that meets the error; None: as often as it may. The first that
# matches decides. A step that is tried once (tenants/operations/steps.py) meets SwapFailedError, whatever it
# was.
ATTEMPTS: tuple[tuple[type[Exception], int | None], ...] = (
    (WaitError, 1),  # it has waited as long as it may
    (NoRoomError, 1),  # the pool is full: refused at once
    (StaleFenceError, None),  # the next claim brings a higher one
    (InputError, 1),
    # It does not come by asking again; workers/reconcilers/missing_data.py looks for it
    (DataMissingError, 1),
    (EdgeRefusedError, 1),
    (RouteRefusedError, 1),
    (SwapFailedError, 1),  # nobody waits under a hold for another try
    (AppError, 3),
    (NoCopyError, 1),
    (HostLostError, 1),
)


def under(lease: Lease, clients: Clients, owner: str) -> str:
    """Work on the operation of a lease that this owner's claim got; gives a word for what came of it."""
    with metrics.attempt(lease.operation_id, lease.verb, age_seconds=lease.age_seconds) as attempt:
        attempt.outcome = _under(lease, clients, owner)
    return attempt.outcome


def _under(lease: Lease, clients: Clients, owner: str) -> str:
    try:
        with lease_renewer.hold(lease):
            return _work(lease, clients)
    except LeaseLostError:
        log.info("operation %s was taken over", lease.operation_id)
        return "taken over"
    except DATABASE_AWAY as error:
        # Nothing can be written down now.
        log.warning("operation %s: the database failed: %s", lease.operation_id, error)
        returns.add(owner, error)
        return "left"


def _work(lease: Lease, clients: Clients) -> str:
    flow, began = TABLES[lease.verb], time.monotonic()
    context = flow.open(lease, clients)
    operation = context.operation
    if context.code:
        return _go_back(flow, lease, clients, context.code, context.message)
    if lease.is_spent:
        code, message = operation.error_code or "deadline", operation.error_message
        return _go_back(flow, lease, clients, code, message or "it took too long")
    try:
        with context.stack:
            runner.forward(flow, context)
    except (LeaseLostError, *DATABASE_AWAY):
        raise
    except CancelledError as error:
        return _go_back(flow, lease, clients, error.code, "cancelled on request")
    except (TenantsError, RuntimeCoreError, FlowError) as error:
        outage = clients.outage(began)
        return _settle(flow, lease, clients, AwayError(outage) if outage else error)
    except Exception as error:
        log.exception("operation %s met a fault of ours", lease.operation_id)
        return _settle(flow, lease, clients, error)
    ended: str = context.ended
    return ended


def _settle(flow: Flow[Context], lease: Lease, clients: Clients, error: Exception) -> str:
    if isinstance(error, HostBusyError):
        error = SlotsTakenError(error.message)
    if isinstance(error, WaitError) and attempts.wait(lease, error):
        return "waits"
    code, message = attempts.failure_of(error)
    most_attempts = next((most for kind, most in ATTEMPTS if isinstance(error, kind)), None)
    if most_attempts != 1 and attempts.repeat_later(
        lease, code=code, message=message, most_attempts=most_attempts
    ):
        return "again later"
    return _go_back(flow, lease, clients, code, message)


def _go_back(flow: Flow[Context], lease: Lease, clients: Clients, code: str, message: str) -> str:
    """End the operation badly; what cannot be undone yet is tried again until it can.

    The way back begins with what the record says, as it does after a death.
    """
    context = flow.open(lease, clients)
    try:
        with context.stack:
            runner.unwind(flow, context, code=code, message=message)
    except (LeaseLostError, *DATABASE_AWAY):
        raise
    except WaitError as error:
        if not attempts.wait(lease, error):
            raise
        return "waits"
    except Exception as error:
        log.exception("operation %s cannot be undone yet", lease.operation_id)
        attempts.wait(lease, UndoError(attempts.failure_of(error)[1]))
        return "waits"
    return context.ended


def new_owner() -> str:
    """Return a name for one claim."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}/{next(_claims)}"
