"""The right to work an operation: claimed, renewed, checked, and shown as the step it has come to.

All times are PostgreSQL's.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Least, Now

from tenants.core import metrics
from tenants.errors import CancelledError, LeaseLostError
from tenants.operations import steps
from tenants.operations.models import Operation, Step
from tenants.operations.steps import STEPS, StepFacts
from tenants.states import OPEN_OPERATION_STATES, OperationState, StepState

# The sweep comes every two seconds. After a longer pause somebody was away, and until it has been here
# again and has given the time back (operations.give_time_back), nothing counts as used up.
OUTAGE_SECONDS = 6.0

# A claim's parts, also for the line of starts (tenants/operations/line.py). Its time begins with the first
# try, and anew after a wait: time in which nobody could try uses nothing up.
IS_FREE = """state IN %(open)s AND (lease_until IS NULL OR lease_until < statement_timestamp())
       AND run_after <= statement_timestamp()"""
_IS_FRESH = (
    f"(state = '{OperationState.PENDING.value}' AND (attempts = 0 OR waiting_since IS NOT NULL))"
)
CLAIMED = f"""id, tenant_id, verb, state,
           (attempts >= max_attempts
            OR NOT {_IS_FRESH} AND deadline_at <= statement_timestamp())
           AND NOT EXISTS (
               SELECT 1 FROM tenants_periodicrun
                WHERE name = 'sweep' AND finished_at
                      < statement_timestamp() - {OUTAGE_SECONDS} * interval '1 second'
           ) AS is_spent,
           CASE WHEN {_IS_FRESH}
                THEN greatest(deadline_at, statement_timestamp()
                     + (%(allowed)s::jsonb ->> verb)::int * interval '1 second')
                ELSE deadline_at END AS until,
           extract(epoch FROM statement_timestamp() - queued_at)::float8 AS asked_ago,
           extract(epoch FROM statement_timestamp() - greatest(run_after, lease_until))::float8 AS due_for"""  # noqa: S608

# The fence is bumped at every claim, under the tenant's row lock, so that a host can refuse the worker
# that held the operation before.
TAKE_MINE = """numbered AS (
    UPDATE tenants_tenant SET fence = fence + 1
      FROM mine WHERE tenants_tenant.id = mine.tenant_id RETURNING fence
), taken AS (
    UPDATE tenants_operation
       SET state = %(running)s, fence = numbered.fence, lease_owner = %(owner)s,
           lease_until = statement_timestamp() + %(seconds)s * interval '1 second',
           attempts = attempts + 1, deadline_at = mine.until,
           started_at = COALESCE(started_at, statement_timestamp())
      FROM mine, numbered WHERE tenants_operation.id = mine.id
), written AS (
    INSERT INTO tenants_transition (subject, subject_id, old_state, new_state, reason)
    SELECT 'operation', id, state, %(running)s, %(reason)s FROM mine WHERE state <> %(running)s
)
SELECT mine.id, mine.tenant_id, numbered.fence, mine.verb, mine.is_spent, mine.asked_ago, mine.due_for
  FROM mine, numbered
"""

# One statement: a claim is the first thing between a merchant and a shop.
_CLAIM = f"""
WITH mine AS (
    SELECT {CLAIMED} FROM tenants_operation
     WHERE id = %(operation)s AND {IS_FREE}
       FOR UPDATE SKIP LOCKED
), {TAKE_MINE}
"""  # noqa: S608

# One statement again, and the operation's row stays locked until the caller's transaction ends: what
# a flow writes beside its step cannot slip in after the operation was taken away from it.
# `phase` is the furthest step and never goes back; the rows that people see show the step of this try.
_BEGIN_STEP = """
WITH held AS (
    UPDATE tenants_operation
       SET phase = CASE WHEN NOT cancel_requested AND phase = ANY(%(before)s)
                        THEN %(phase)s ELSE phase END
     WHERE id = %(operation)s AND fence = %(fence)s AND state = %(running)s
    RETURNING id, cancel_requested, phase
), moved AS (
    UPDATE tenants_step
       SET state = CASE WHEN position = %(position)s THEN %(active)s
                        WHEN position < %(position)s THEN %(done)s
                        ELSE %(waiting)s END,
           started_at = CASE WHEN position <= %(position)s
                             THEN COALESCE(started_at, statement_timestamp()) END,
           finished_at = CASE WHEN position < %(position)s THEN statement_timestamp() END,
           detail = ''
      FROM held
     WHERE operation_id = held.id AND NOT held.cancel_requested
       AND NOT (position < %(position)s AND tenants_step.state = %(done)s)
       AND NOT (position > %(position)s AND tenants_step.state = %(waiting)s)
)
SELECT cancel_requested, phase FROM held
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work one operation: pass it to every call that records progress.

    is_spent: its attempts or its time are used up; all that is left to do is to end it.
    age_seconds: how long ago it was asked for, at the claim.
    """

    operation_id: int
    tenant_id: int
    fence: int
    verb: str = ""
    is_spent: bool = False
    age_seconds: float = field(default=0.0, compare=False)


def claim(operation_pk: int, *, owner: str) -> Lease | None:
    """Take the operation for LEASE_SECONDS; None when it is done, held, or not due yet.

    Raises nothing: where a claim fails, another worker holds it.
    """
    return claim_by(_CLAIM, {"operation": operation_pk}, owner=owner)


@cache
def _allowed_seconds() -> str:
    """Return how long an operation may take, by its verb, as PostgreSQL reads it."""
    return json.dumps({verb: round(steps.deadline_of(verb).total_seconds()) for verb in STEPS})


def claim_by(statement: str, chosen: Mapping[str, int | list[int]], *, owner: str) -> Lease | None:
    """Return the lease of the operation that a statement built of the parts above has chosen."""
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                **chosen,
                "open": tuple(OPEN_OPERATION_STATES),
                "running": OperationState.RUNNING.value,
                "owner": owner[:80],
                "allowed": _allowed_seconds(),
                "seconds": settings.LEASE_SECONDS,
                "outage": OUTAGE_SECONDS,
                "reason": f"claimed by {owner}"[:300],
            },
        )
        row = cursor.fetchone()
    metrics.CLAIM.observe(time.monotonic() - began)
    if row is None:
        return None
    *found, due_seconds = row
    lease = Lease(*found)
    metrics.DUE.labels(lease.verb).observe(due_seconds)
    return lease


def held_by(owner: str) -> Lease | None:
    """Return the lease that an owner's claim got, for a caller whose claim had no answer."""
    rows = Operation.objects.filter(
        lease_owner=owner[:80], state=OperationState.RUNNING
    ).values_list("pk", "tenant_id", "fence", "verb")
    return next((Lease(*row) for row in rows), None)


def held(lease: Lease) -> QuerySet[Operation]:
    """Return the operation's row while the lease is good; no row once it was taken over or has ended."""
    return Operation.objects.filter(
        pk=lease.operation_id, fence=lease.fence, state=OperationState.RUNNING
    )


def renew(lease: Lease) -> None:
    """Hold on for another LEASE_SECONDS, never past the deadline. Raises LeaseLostError."""
    end = Least(Now() + timedelta(seconds=settings.LEASE_SECONDS), F("deadline_at"))
    if held(lease).update(lease_until=Greatest(F("lease_until"), end)) != 1:
        raise lost()


def check(lease: Lease) -> None:
    """Call before each driver call. Raises LeaseLostError, or CancelledError when asked to stop."""
    _refuse_unless_wanted(held(lease).values_list("cancel_requested", flat=True).first())


def check_ours(lease: Lease) -> None:
    """As check, where a cancel comes too late. Raises LeaseLostError."""
    if not held(lease).exists():
        raise lost()


def lock(lease: Lease) -> None:
    """Keep the operation ours until the caller's transaction ends. Raises LeaseLostError.

    Not through the ORM: each write of a flow begins with it.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("lock a lease within a transaction")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM tenants_operation WHERE id = %s AND fence = %s AND state = %s"
            " FOR NO KEY UPDATE",
            [lease.operation_id, lease.fence, OperationState.RUNNING.value],
        )
        if cursor.fetchone() is None:
            raise lost()


def begin_step(lease: Lease, phase: str) -> str:
    """Record that a step's work begins; gives the furthest phase, which may be a later one.

    Its row is marked as being worked on, those before it as done, those after it as still to come.
    Inside a transaction it also keeps the operation ours until the end of that transaction.
    Raises LeaseLostError, or CancelledError when somebody asked the operation to stop: that is granted
    only as long as the table says that the furthest step can be called off.
    """
    step = steps.at(lease.verb, phase)
    row = _begin(lease, step)
    _refuse_unless_wanted(None if row is None else row[0])
    metrics.begin_step(lease.operation_id, lease.verb, step.name)
    return str(row[1]) if row else phase


def begin_unwinding(lease: Lease, *, code: str, message: str) -> None:
    """Record that from now on the operation only goes back, and why. Raises LeaseLostError."""
    ours = held(lease).update(unwind_code=code[:40], unwind_message=message[:500])
    if ours != 1:
        raise lost()


def lost() -> LeaseLostError:
    """Return what to raise when a guarded write found no row."""
    return LeaseLostError("the operation was taken over or has ended")


def _begin(lease: Lease, step: StepFacts) -> tuple[bool, str] | None:
    """Return whether a cancel was asked for, and the furthest phase; None when the lease is lost."""
    known = steps.phases(lease.verb)
    with connection.cursor() as cursor:
        cursor.execute(
            _BEGIN_STEP,
            {
                "operation": lease.operation_id,
                "fence": lease.fence,
                "running": OperationState.RUNNING.value,
                "phase": step.phase,
                "before": ["", *known[: known.index(step.phase)]],
                "position": _position(lease.verb, step.name),
                "active": StepState.ACTIVE.value,
                "done": StepState.DONE.value,
                "waiting": StepState.WAITING.value,
            },
        )
        row: tuple[bool, str] | None = cursor.fetchone()
    return row


def keep_arguments(lease: Lease, arguments: Mapping[str, object]) -> None:
    """Write what a repeat of the flow has to know, while the operation is ours. Raises LeaseLostError."""
    if held(lease).update(arguments=dict(arguments)) != 1:
        raise lost()


def note_step(lease: Lease, name: str, detail: str) -> None:
    """Show a sentence beside a step while the operation is ours; no-op if it no longer is."""
    Step.objects.filter(operation__in=held(lease), position=_position(lease.verb, name)).update(
        detail=detail[:300]
    )


def _position(verb: str, name: str) -> int:
    """Return where the step that people see stands among its verb's."""
    return steps.names(verb).index(name)


def _refuse_unless_wanted(cancel_requested: bool | None) -> None:
    if cancel_requested is None:
        raise lost()
    if cancel_requested:
        raise CancelledError("somebody asked this operation to stop")
