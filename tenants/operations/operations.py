"""Opens, leases, advances and ends operations.

Who works on an operation is in leases.py; every write of a worker is guarded by its lease.

Rows are locked in one order, the operation's before its tenant's. So a removal that supersedes an
operation and the worker that ends it wait for each other instead of deadlocking.
"""

from collections.abc import Mapping
from datetime import timedelta
from random import uniform

from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, PositiveSmallIntegerField, Value, When
from django.db.models.functions import Coalesce, Greatest, Least, Now

from tenants.accounts.models import Member
from tenants.core import dispatch, transitions
from tenants.errors import (
    CancelledError,
    OperationOpenError,
    StateConflictError,
    TenantsError,
    WaitError,
)
from tenants.operations import steps
from tenants.operations.leases import Lease, check, held, lost
from tenants.operations.models import Operation, Step
from tenants.shops.models import Instance, Tenant
from tenants.states import (
    LINE_VERBS,
    OPEN_OPERATION_STATES,
    OperationState,
    StepState,
    TenantState,
    Verb,
)

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 60)


_WRITE_STEPS = """
INSERT INTO tenants_step (operation_id, position, name, state, detail)
SELECT %s, position - 1, name, %s, '' FROM unnest(%s) WITH ORDINALITY AS step (name, position)
"""


@transaction.atomic
def open_operation(
    instance: Instance,
    verb: str,
    *,
    requested_by: Member | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Operation:
    """Write a new operation with its steps and hand it over on commit.

    arguments: what the verb needs beside the instance.
    Raises OperationOpenError when the tenant already has an open one, StateConflictError when
    something else is asked of a tenant that is being removed.
    """
    # A set-up is opened for a tenant that was made a moment ago, and only then: nothing to ask.
    if verb not in (Verb.REMOVE, Verb.PROVISION) and _is_leaving(instance.tenant_id):
        raise StateConflictError("the shop is being removed or is gone")
    try:
        with transaction.atomic():
            operation = Operation.objects.create(
                tenant_id=instance.tenant_id,
                instance=instance,
                verb=verb,
                requested_by=requested_by,
                arguments=dict(arguments or {}),
                is_in_line=verb in LINE_VERBS,
                deadline_at=Now() + steps.deadline_of(verb),
            )
    except IntegrityError as error:
        raise OperationOpenError("another operation of this shop is still running") from error
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE_STEPS, [operation.pk, StepState.WAITING.value, list(steps.names(verb))]
        )
    _hand_over(operation)
    return operation


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
    _stop_steps(lease.operation_id, message)


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
    _stop_steps(lease.operation_id, message)


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


def give_time_back(seconds: float) -> int:
    """Give every open operation the time back in which nobody could work; how many that were.

    seconds: until now. A lease that ran out meanwhile was an attempt that nobody could end.
    """
    lost = Least(Value(timedelta(seconds=seconds)), Now() - F("created_at"))
    return Operation.objects.filter(state__in=OPEN_OPERATION_STATES).update(
        deadline_at=F("deadline_at") + lost,
        waiting_since=F("waiting_since") + lost,
        attempts=Case(
            When(
                state=OperationState.RUNNING,
                lease_until__lt=Now(),
                lease_until__gt=Now() - timedelta(seconds=seconds),
                then=Greatest(F("attempts") - 1, 0),
            ),
            default=F("attempts"),
            output_field=PositiveSmallIntegerField(),
        ),
    )


def lock_failed(operation: Operation) -> None:
    """Hold a failed operation and its tenant until the transaction ends, so that it may be reopened.

    Raises StateConflictError unless it failed and is the latest thing asked of the tenant.
    """
    # Held from here on, so that a removal asked for meanwhile waits and then supersedes it.
    Operation.objects.select_for_update().only("pk").get(pk=operation.pk)
    Tenant.objects.select_for_update(no_key=True).only("pk").get(pk=operation.tenant_id)
    operation.refresh_from_db(fields=["state", "arguments"])
    if operation.state != OperationState.FAILED:
        raise StateConflictError("only a failed operation can be tried again")
    if operation.verb != Verb.REMOVE and _is_leaving(operation.tenant_id):
        raise StateConflictError("the shop is being removed or is gone")
    # An older one would bring back what a later operation has changed.
    if Operation.objects.filter(tenant_id=operation.tenant_id, pk__gt=operation.pk).exists():
        raise StateConflictError("only the latest operation of a shop can be tried again")


@transaction.atomic
def reopen(operation: Operation, *, arguments: Mapping[str, object]) -> None:
    """Open a failed operation that is locked (lock_failed) with fresh attempts and a fresh deadline."""
    try:
        with transaction.atomic():
            transitions.move(
                operation,
                OperationState.PENDING,
                reason="tried again on request",
                attempts=0,
                waits=0,
                phase="",
                unwind_code="",
                unwind_message="",
                queued_at=Now(),
                is_in_line=operation.verb in LINE_VERBS,
                arguments=dict(arguments),
                run_after=Now(),
                waiting_since=None,
                lease_until=None,
                lease_owner="",
                cancel_requested=False,
                error_code="",
                error_message="",
                finished_at=None,
                deadline_at=Now() + steps.deadline_of(operation.verb),
            )
    except IntegrityError as error:
        raise OperationOpenError("another operation of this shop is still running") from error
    operation.steps.update(state=StepState.WAITING, detail="", started_at=None, finished_at=None)
    tenant = Tenant.objects.get(pk=operation.tenant_id)
    if tenant.state == TenantState.FAILED:
        transitions.move(tenant, TenantState.REQUESTED, reason="tried again on request")
    _hand_over(operation)


@transaction.atomic
def cancel(operation: Operation, *, is_operator: bool = True) -> None:
    """Ask an open operation to stop; its worker, or the sweep, ends it and cleans up.

    is_operator: False for the shop's own people.
    Raises StateConflictError when it has ended, goes back already, has come to a step that has to be
    finished, or is not theirs to stop.
    """
    check_steers(operation, is_operator=is_operator)
    # Held, so that its worker begins that step either before this or after it has heard the request.
    now = Operation.objects.select_for_update().get(pk=operation.pk)
    if not now.is_open:
        raise StateConflictError("the operation has already ended")
    if now.unwind_code:
        raise StateConflictError("it goes back already: it failed, and is being undone")
    if not may_be_cancelled(now, is_operator=is_operator):
        raise StateConflictError(_TOO_LATE.get(now.verb, _FINISHED_FIRST))
    Operation.objects.filter(pk=now.pk).update(cancel_requested=True, run_after=Now())
    dispatch.hand_over(now.pk)


_FINISHED_FIRST = "it is too late to stop this: what it has begun is finished first"
_TOO_LATE: dict[str, str] = {Verb.REMOVE: "a removal cannot be stopped once it has been asked for"}


def may_be_cancelled(operation: Operation, *, is_operator: bool = True) -> bool:
    """Return whether `cancel` would stop the operation now."""
    return steps.may_steer(operation.verb, is_operator=is_operator) and steps.may_be_stopped(
        operation.verb, operation.phase, operation.unwind_code
    )


def check_steers(operation: Operation, *, is_operator: bool) -> None:
    """Raise StateConflictError unless it is theirs to stop and to repeat."""
    if not steps.may_steer(operation.verb, is_operator=is_operator):
        raise StateConflictError(
            "the platform has asked for this itself; only its operators stop it or try it again"
        )


def lock_open(tenant: Tenant) -> None:
    """Hold the tenant's open operation, if there is one, until the transaction ends."""
    opened = Operation.objects.filter(tenant=tenant, state__in=OPEN_OPERATION_STATES)
    list(opened.select_for_update().values_list("pk", flat=True))


@transaction.atomic
def supersede(tenant: Tenant, *, reason: str) -> None:
    """End the open operation of the tenant, also while a worker is at it: a stronger verb follows.

    Its worker finds its lease gone; hosts refuse its lower fence after the next claim.
    """
    for operation in Operation.objects.select_for_update().filter(
        tenant=tenant, state__in=OPEN_OPERATION_STATES
    ):
        transitions.move(
            operation,
            OperationState.CANCELLED,
            reason=reason,
            finished_at=Now(),
            lease_until=None,
            error_code="superseded",
            error_message=reason[:500],
        )
        _stop_steps(operation.pk, reason)


def failure_of(error: Exception) -> tuple[str, str]:
    """Code and message of an error for an operation's record."""
    if isinstance(error, TenantsError):
        return error.code, str(error.message)
    return getattr(error, "code", "internal"), getattr(error, "message", str(error))


def _hand_over(operation: Operation) -> None:
    """A hint that somebody is in line; or the operation's name, where it does not wait in line."""
    dispatch.hand_over(0 if operation.verb in LINE_VERBS else operation.pk)


def _is_leaving(tenant_id: int) -> bool:
    return Tenant.objects.filter(
        pk=tenant_id, state__in=(TenantState.REMOVING, TenantState.REMOVED)
    ).exists()


def _end(lease: Lease, state: str, *, reason: str, **changes: object) -> None:
    changed = held(lease).update(
        state=state, finished_at=Now(), lease_until=None, lease_owner="", **changes
    )
    if changed != 1:
        raise lost()
    transitions.journal(
        "operation", lease.operation_id, OperationState.RUNNING, state, reason=reason
    )


def _stop_steps(operation_pk: int, message: str) -> None:
    Step.objects.filter(operation_id=operation_pk, state=StepState.ACTIVE).update(
        state=StepState.FAILED, finished_at=Now(), detail=message[:300]
    )
