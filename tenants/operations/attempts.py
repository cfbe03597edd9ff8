"""How an attempt at an operation ends: well, badly, or so that it is made again later.

Every write is guarded by the attempt's lease (leases.py), so a worker that lost its lease changes nothing.
"""

from datetime import timedelta
from random import uniform

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Greatest, Now

from tenants.core import transitions
from tenants.errors import CancelledError, TenantsError, WaitError
from tenants.operations import steps
from tenants.operations.leases import Lease, check, held, lost
from tenants.operations.models import Step
from tenants.states import LINE_VERBS, OperationState, StepState

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 60)

# Each sign-up ends with it: one statement in place of three, not through the ORM.
_SUCCEED = """
WITH ended AS (
    UPDATE tenants_operation
       SET state = %(succeeded)s, finished_at = statement_timestamp(), lease_until = NULL,
           lease_owner = '', error_code = '', error_message = ''
     WHERE id = %(operation)s AND fence = %(fence)s AND state = %(running)s
       AND (NOT cancel_requested OR unwind_code <> '')
    RETURNING id
), done AS (
    UPDATE tenants_step
       SET state = %(done)s, started_at = COALESCE(started_at, statement_timestamp()),
           finished_at = statement_timestamp()
      FROM ended WHERE operation_id = ended.id AND tenants_step.state <> %(done)s
)
INSERT INTO tenants_transition (subject, subject_id, old_state, new_state, reason)
SELECT 'operation', id, %(running)s, %(succeeded)s, %(reason)s FROM ended
"""


def succeed(lease: Lease, *, reason: str = "done") -> None:
    """End the operation well; the last write of a flow's record part.

    Raises LeaseLostError, or CancelledError when a cancel was granted before.
    """
    # What an earlier attempt stumbled over is in the journal; the operation itself ended well.
    with connection.cursor() as cursor:
        cursor.execute(
            _SUCCEED,
            {
                "operation": lease.operation_id,
                "fence": lease.fence,
                "running": OperationState.RUNNING.value,
                "succeeded": OperationState.SUCCEEDED.value,
                "done": StepState.DONE.value,
                "reason": reason[:300],
            },
        )
        if cursor.rowcount != 1:
            check(lease)
            raise lost()


@transaction.atomic
def fail(lease: Lease, *, code: str, message: str) -> None:
    """End the operation badly, with a reason people can read. Raises LeaseLostError."""
    _end(
        lease,
        OperationState.FAILED,
        reason=message,
        error_code=code[:40],
        error_message=message[:500],
    )
    stop_steps(lease.operation_id, message)


@transaction.atomic
def cancelled(lease: Lease, *, message: str = "cancelled on request") -> None:
    """End the operation because somebody asked. Raises LeaseLostError."""
    _end(
        lease,
        OperationState.CANCELLED,
        reason=message,
        error_code="cancelled",
        error_message=message,
    )
    stop_steps(lease.operation_id, message)


def end_badly(lease: Lease, *, code: str, message: str) -> str:
    """End the operation as cancelled or as failed, as the code says, and give that word.

    Raises LeaseLostError.
    """
    if code == CancelledError.code:
        cancelled(lease, message=message)
        return "cancelled"
    fail(lease, code=code, message=message)
    return "failed"


@transaction.atomic
def repeat_later(
    lease: Lease,
    *,
    code: str,
    message: str,
    most_attempts: int | None = None,
) -> bool:
    """Give the lease back and try again after a jittered pause.

    most_attempts: less than the operation itself allows, for errors that another try will hardly cure.
    Returns False, changing nothing, when attempts or time are used up: then `fail` it.
    Raises LeaseLostError.
    """
    operation = held(lease).select_for_update().first()
    if operation is None:
        raise lost()
    pause = BACKOFF_SECONDS[min(operation.attempts, len(BACKOFF_SECONDS)) - 1] * uniform(0.8, 1.2)  # noqa: S311
    due = Now() + timedelta(seconds=pause)
    if operation.attempts >= min(operation.max_attempts, most_attempts or operation.max_attempts):
        return False
    changed = (
        held(lease)
        .filter(deadline_at__gt=due)
        .update(
            state=OperationState.PENDING,
            lease_owner="",
            lease_until=None,
            run_after=due,
            waiting_since=None,
            waits=0,
            is_in_line=False,
            error_code=code[:40],
            error_message=message[:500],
        )
    )
    if changed:
        Step.objects.filter(operation_id=lease.operation_id, state=StepState.ACTIVE).update(
            detail=message[:300]
        )
        transitions.journal(
            "operation",
            lease.operation_id,
            OperationState.RUNNING,
            OperationState.PENDING,
            reason=f"again in {pause:.1f} s: {message}",
        )
    return bool(changed)


@transaction.atomic
def wait(lease: Lease, error: WaitError) -> bool:
    """Give the lease back until what is needed may be there; uses up neither an attempt nor time.

    Returns False, changing nothing, when it has waited longer than the error allows: then `fail` it.
    What counts is how often it was tried, a pause each. Raises LeaseLostError.
    """
    operation = held(lease).select_for_update().first()
    if operation is None:
        raise lost()
    longest = error.longest_seconds
    if longest is not None and operation.waits * error.pause_seconds >= longest:
        return False
    code, message = failure_of(error)
    held(lease).update(
        state=OperationState.PENDING,
        lease_owner="",
        lease_until=None,
        run_after=Now() + timedelta(seconds=error.pause_seconds * uniform(0.8, 1.2)),  # noqa: S311
        waiting_since=Coalesce(F("waiting_since"), Now()),
        waits=F("waits") + 1,
        is_in_line=error.keeps_place and operation.verb in LINE_VERBS,
        attempts=Greatest(F("attempts") - 1, 0),
        deadline_at=Greatest(F("deadline_at"), Now() + steps.deadline_of(operation.verb)),
        error_code=code[:40],
        error_message=message[:500],
    )
    # It waits, it does not work: a step would seem to take as long as the wait.
    active = Step.objects.filter(operation_id=lease.operation_id, state=StepState.ACTIVE)
    active.update(state=StepState.WAITING, started_at=None, detail=message[:300])
    if operation.waiting_since is None:  # said once, however long it waits
        transitions.journal(
            "operation",
            lease.operation_id,
            OperationState.RUNNING,
            OperationState.PENDING,
            reason=f"waits: {message}",
        )
    return True


def failure_of(error: Exception) -> tuple[str, str]:
    """Code and message of an error for an operation's record."""
    if isinstance(error, TenantsError):
        return error.code, str(error.message)
    return getattr(error, "code", "internal"), getattr(error, "message", str(error))


def stop_steps(operation_pk: int, message: str) -> None:
    """Mark the step that is worked on as failed: its operation has ended."""
    Step.objects.filter(operation_id=operation_pk, state=StepState.ACTIVE).update(
        state=StepState.FAILED, finished_at=Now(), detail=message[:300]
    )


def _end(lease: Lease, state: str, *, reason: str, **changes: object) -> None:
    changed = held(lease).update(
        state=state, finished_at=Now(), lease_until=None, lease_owner="", **changes
    )
    if changed != 1:
        raise lost()
    transitions.journal(
        "operation", lease.operation_id, OperationState.RUNNING, state, reason=reason
    )
