"""Opens, leases, advances and ends operations.

A worker holds an operation only while its lease lasts, and every write it makes is guarded by
(id, fence, state = running): whoever lost the lease changes nothing. All times are PostgreSQL's.

Locks are taken in one order, the tenant's row before its operation's, so that a removal that
supersedes an operation and the worker that ends it wait for each other instead of deadlocking.
"""

from dataclasses import dataclass
from datetime import timedelta
from random import uniform

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Greatest, Least, Now

from tenants import dispatch
from tenants.errors import (
    CancelledError,
    LeaseLostError,
    OperationOpenError,
    StateConflictError,
    TenantsError,
)
from tenants.models import Instance, Member, Operation, Step, Tenant
from tenants.services import transitions
from tenants.states import (
    OPEN_OPERATION_STATES,
    STEPS,
    OperationState,
    StepState,
    TenantState,
    Verb,
)

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 60)

STEPS_POSITION = {name: position for names in STEPS.values() for position, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work one operation: pass it to every call that records progress.

    is_spent: its attempts or its time are used up; all that is left to do is to end it.
    """

    operation_id: int
    tenant_id: int
    fence: int
    verb: str = ""
    is_spent: bool = False


# One statement: a claim is the first thing between a merchant and a shop. The fence is bumped at every
# claim, under the tenant's row lock, so that a host can refuse whoever held the operation before.
_CLAIM = """
WITH mine AS (
    SELECT id, tenant_id, verb, state,
           deadline_at <= statement_timestamp() OR attempts >= max_attempts AS is_spent
      FROM tenants_operation
     WHERE id = %(operation)s AND state IN %(open)s
       AND (lease_until IS NULL OR lease_until < statement_timestamp())
       AND run_after <= statement_timestamp()
       FOR UPDATE SKIP LOCKED
), numbered AS (
    UPDATE tenants_tenant SET fence = fence + 1
      FROM mine WHERE tenants_tenant.id = mine.tenant_id RETURNING fence
), taken AS (
    UPDATE tenants_operation
       SET state = %(running)s, fence = numbered.fence, lease_owner = %(owner)s,
           lease_until = statement_timestamp() + %(seconds)s * interval '1 second',
           attempts = attempts + 1,
           started_at = COALESCE(started_at, statement_timestamp())
      FROM mine, numbered WHERE tenants_operation.id = mine.id
), written AS (
    INSERT INTO tenants_transition (subject, subject_id, old_state, new_state, reason)
    SELECT 'operation', id, state, %(running)s, %(reason)s FROM mine WHERE state <> %(running)s
)
SELECT mine.tenant_id, numbered.fence, mine.verb, mine.is_spent FROM mine, numbered
"""

# One statement again, and the operation's row stays locked until the caller's transaction ends: what
# a flow writes beside its step cannot slip in after the operation was taken away from it.
_BEGIN_STEP = """
WITH held AS (
    SELECT id, cancel_requested FROM tenants_operation
     WHERE id = %(operation)s AND fence = %(fence)s AND state = %(running)s
       FOR NO KEY UPDATE
), moved AS (
    UPDATE tenants_step
       SET state = CASE WHEN position = %(position)s THEN %(active)s ELSE %(done)s END,
           started_at = COALESCE(started_at, statement_timestamp()),
           finished_at = CASE WHEN position < %(position)s THEN statement_timestamp() END,
           detail = ''
      FROM held
     WHERE operation_id = held.id AND NOT held.cancel_requested AND position <= %(position)s
       AND (position = %(position)s OR tenants_step.state <> %(done)s)
)
SELECT cancel_requested FROM held
"""


@transaction.atomic
def open_operation(
    instance: Instance, verb: str, *, requested_by: Member | None = None
) -> Operation:
    """Write a new operation with its steps and hand it over on commit.

    Raises OperationOpenError when the tenant already has an open one, StateConflictError when
    anything but a removal is asked of a tenant that is being removed.
    """
    if verb != Verb.REMOVE and _is_leaving(instance.tenant_id):
        raise StateConflictError("the shop is being removed or is gone")
    try:
        with transaction.atomic():
            operation = Operation.objects.create(
                tenant_id=instance.tenant_id,
                instance=instance,
                verb=verb,
                requested_by=requested_by,
                deadline_at=Now() + timedelta(seconds=settings.OPERATION_DEADLINE_SECONDS),
            )
    except IntegrityError as error:
        raise OperationOpenError("another operation of this shop is still running") from error
    Step.objects.bulk_create(
        Step(operation=operation, position=position, name=name)
        for position, name in enumerate(STEPS[verb])
    )
    dispatch.hand_over(operation.pk)
    return operation


def claim(operation_pk: int, *, owner: str) -> Lease | None:
    """Take the operation for LEASE_SECONDS; None when it is done, held, or not due yet.

    Raises nothing: a claim that fails is somebody else's luck.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "operation": operation_pk,
                "open": tuple(OPEN_OPERATION_STATES),
                "running": OperationState.RUNNING.value,
                "owner": owner[:80],
                "seconds": settings.LEASE_SECONDS,
                "reason": f"claimed by {owner}"[:300],
            },
        )
        row = cursor.fetchone()
    if row is None:
        return None
    tenant_id, fence, verb, is_spent = row
    return Lease(operation_pk, tenant_id, fence, verb, is_spent)


def renew(lease: Lease) -> None:
    """Hold on for another LEASE_SECONDS, never past the deadline. Raises LeaseLostError."""
    end = Least(Now() + timedelta(seconds=settings.LEASE_SECONDS), F("deadline_at"))
    if _held(lease).update(lease_until=Greatest(F("lease_until"), end)) != 1:
        raise LeaseLostError("the operation was taken over or has ended")


def check(lease: Lease) -> None:
    """Call before each driver call. Raises LeaseLostError, or CancelledError when asked to stop."""
    row = _held(lease).values_list("cancel_requested", flat=True).first()
    if row is None:
        raise LeaseLostError("the operation was taken over or has ended")
    if row:
        raise CancelledError("somebody asked this operation to stop")


def begin_step(lease: Lease, name: str) -> None:
    """Mark a step as being worked on, and every step before it as done.

    Inside a transaction it also keeps the operation ours until the end of that transaction.
    Raises LeaseLostError, or CancelledError when somebody asked the operation to stop.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _BEGIN_STEP,
            {
                "operation": lease.operation_id,
                "fence": lease.fence,
                "running": OperationState.RUNNING.value,
                "position": STEPS_POSITION[name],
                "active": StepState.ACTIVE.value,
                "done": StepState.DONE.value,
            },
        )
        row = cursor.fetchone()
    if row is None:
        raise LeaseLostError("the operation was taken over or has ended")
    if row[0]:
        raise CancelledError("somebody asked this operation to stop")


STEPS_POSITION = {name: position for names in STEPS.values() for position, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work one operation: pass it to every call that records progress.

    is_spent: its attempts or its time are used up; all that is left to do is to end it.
    """

    operation_id: int
    tenant_id: int
    fence: int
    verb: str = ""
    is_spent: bool = False


# One statement: a claim is the first thing between a merchant and a shop. The fence is bumped at every
# claim, under the tenant's row lock, so that a host can refuse whoever held the operation before.
_CLAIM = """
WITH mine AS (
    SELECT id, tenant_id, verb, state,
           deadline_at <= statement_timestamp() OR attempts >= max_attempts AS is_spent
      FROM tenants_operation
     WHERE id = %(operation)s AND state IN %(open)s
       AND (lease_until IS NULL OR lease_until < statement_timestamp())
       AND run_after <= statement_timestamp()
       FOR UPDATE SKIP LOCKED
), numbered AS (
    UPDATE tenants_tenant SET fence = fence + 1
      FROM mine WHERE tenants_tenant.id = mine.tenant_id RETURNING fence
), taken AS (
    UPDATE tenants_operation
       SET state = %(running)s, fence = numbered.fence, lease_owner = %(owner)s,
           lease_until = statement_timestamp() + %(seconds)s * interval '1 second',
           attempts = attempts + 1,
           started_at = COALESCE(started_at, statement_timestamp())
      FROM mine, numbered WHERE tenants_operation.id = mine.id
), written AS (
    INSERT INTO tenants_transition (subject, subject_id, old_state, new_state, reason)
    SELECT 'operation', id, state, %(running)s, %(reason)s FROM mine WHERE state <> %(running)s
)
SELECT mine.tenant_id, numbered.fence, mine.verb, mine.is_spent FROM mine, numbered
"""

# One statement again, and the operation's row stays locked until the caller's transaction ends: what
# a flow writes beside its step cannot slip in after the operation was taken away from it.
_BEGIN_STEP = """
WITH held AS (
    SELECT id, cancel_requested FROM tenants_operation
     WHERE id = %(operation)s AND fence = %(fence)s AND state = %(running)s
       FOR NO KEY UPDATE
), moved AS (
    UPDATE tenants_step
       SET state = CASE WHEN position = %(position)s THEN %(active)s ELSE %(done)s END,
           started_at = COALESCE(started_at, statement_timestamp()),
           finished_at = CASE WHEN position < %(position)s THEN statement_timestamp() END,
           detail = ''
      FROM held
     WHERE operation_id = held.id AND NOT held.cancel_requested AND position <= %(position)s
       AND (position = %(position)s OR tenants_step.state <> %(done)s)
)
SELECT cancel_requested FROM held
"""


@transaction.atomic
def open_operation(
    instance: Instance, verb: str, *, requested_by: Member | None = None
) -> Operation:
    """Write a new operation with its steps and hand it over on commit.

    Raises OperationOpenError when the tenant already has an open one, StateConflictError when
    anything but a removal is asked of a tenant that is being removed.
    """
    if verb != Verb.REMOVE and _is_leaving(instance.tenant_id):
        raise StateConflictError("the shop is being removed or is gone")
    try:
        with transaction.atomic():
            operation = Operation.objects.create(
                tenant_id=instance.tenant_id,
                instance=instance,
                verb=verb,
                requested_by=requested_by,
                deadline_at=Now() + timedelta(seconds=settings.OPERATION_DEADLINE_SECONDS),
            )
    except IntegrityError as error:
        raise OperationOpenError("another operation of this shop is still running") from error
    Step.objects.bulk_create(
        Step(operation=operation, position=position, name=name)
        for position, name in enumerate(STEPS[verb])
    )
    dispatch.hand_over(operation.pk)
    return operation


def claim(operation_pk: int, *, owner: str) -> Lease | None:
    """Take the operation for LEASE_SECONDS; None when it is done, held, or not due yet.

    Raises nothing: a claim that fails is somebody else's luck.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "operation": operation_pk,
                "open": tuple(OPEN_OPERATION_STATES),
                "running": OperationState.RUNNING.value,
                "owner": owner[:80],
                "seconds": settings.LEASE_SECONDS,
                "reason": f"claimed by {owner}"[:300],
            },
        )
        row = cursor.fetchone()
    if row is None:
        return None
    tenant_id, fence, verb, is_spent = row
    return Lease(operation_pk, tenant_id, fence, verb, is_spent)


def renew(lease: Lease) -> None:
    """Hold on for another LEASE_SECONDS, never past the deadline. Raises LeaseLostError."""
    end = Least(Now() + timedelta(seconds=settings.LEASE_SECONDS), F("deadline_at"))
    if _held(lease).update(lease_until=Greatest(F("lease_until"), end)) != 1:
        raise LeaseLostError("the operation was taken over or has ended")


def check(lease: Lease) -> None:
    """Call before each driver call. Raises LeaseLostError, or CancelledError when asked to stop."""
    row = _held(lease).values_list("cancel_requested", flat=True).first()
    if row is None:
        raise LeaseLostError("the operation was taken over or has ended")
    if row:
        raise CancelledError("somebody asked this operation to stop")


def begin_step(lease: Lease, name: str) -> None:
    """Mark a step as being worked on, those before it as done, those after it as still to come.

    Raises LeaseLostError, or CancelledError when asked to stop.
    """
    check(lease)
    steps = Step.objects.filter(
        operation_id=lease.operation_id,
        operation__fence=lease.fence,
        operation__state=OperationState.RUNNING,
    )
    position = STEPS_POSITION[name]
    steps.filter(position__lte=position).exclude(
        state=StepState.DONE, position__lt=position
    ).update(
        state=Case(When(position=position, then=StepState.ACTIVE), default=StepState.DONE),
        started_at=Case(When(started_at__isnull=True, then=Now()), default=F("started_at")),
        finished_at=Case(When(position__lt=position, then=Now()), default=None),
        detail="",
    )
    # A repeat starts from the first step again: what an earlier attempt reached is yet to come.
    steps.filter(position__gt=position).exclude(state=StepState.WAITING).update(
        state=StepState.WAITING, started_at=None, finished_at=None, detail=""
    )


@transaction.atomic
def succeed(lease: Lease, *, reason: str = "done") -> None:
    """End the operation well; the last write of a flow's record part. Raises LeaseLostError."""
    # What an earlier attempt stumbled over is in the journal; the operation itself ended well.
    _end(lease, OperationState.SUCCEEDED, reason=reason, error_code="", error_message="")
    Step.objects.filter(operation_id=lease.operation_id).exclude(state=StepState.DONE).update(
        state=StepState.DONE,
        started_at=Case(When(started_at__isnull=True, then=Now()), default=F("started_at")),
        finished_at=Now(),
    )


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


@transaction.atomic
def repeat_later(
    lease: Lease,
    *,
    code: str,
    message: str,
    most_attempts: int | None = None,
    patience_seconds: float | None = None,
) -> bool:
    """Give the lease back and try again after a jittered pause.

    most_attempts, patience_seconds: less than the operation itself allows, for errors that a
    longer wait will hardly cure; the seconds count from when it was asked for.
    Returns False, changing nothing, when attempts or time are used up: then `fail` it.
    Raises LeaseLostError.
    """
    _lock_tenant(lease.tenant_id)
    operation = _held(lease).select_for_update().first()
    if operation is None:
        raise LeaseLostError("the operation was taken over or has ended")
    pause = BACKOFF_SECONDS[min(operation.attempts, len(BACKOFF_SECONDS)) - 1] * uniform(0.8, 1.2)  # noqa: S311
    due = Now() + timedelta(seconds=pause)
    if operation.attempts >= min(operation.max_attempts, most_attempts or operation.max_attempts):
        return False
    spare = settings.OPERATION_DEADLINE_SECONDS - (
        patience_seconds or settings.OPERATION_DEADLINE_SECONDS
    )
    changed = (
        _held(lease)
        .filter(deadline_at__gt=due + timedelta(seconds=max(0.0, spare)))
        .update(
            state=OperationState.PENDING,
            lease_owner="",
            lease_until=None,
            run_after=due,
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
def retry(operation: Operation) -> None:
    """Open a failed operation again with fresh attempts and a fresh deadline, and hand it over.

    Raises StateConflictError unless it failed and is the latest thing asked of the tenant,
    OperationOpenError when another one is open.
    """
    _lock_tenant(operation.tenant_id)
    if operation.state != OperationState.FAILED:
        raise StateConflictError("only a failed operation can be tried again")
    if operation.verb != Verb.REMOVE and _is_leaving(operation.tenant_id):
        raise StateConflictError("the shop is being removed or is gone")
    # An older one would bring back what a later operation has changed.
    if Operation.objects.filter(tenant_id=operation.tenant_id, pk__gt=operation.pk).exists():
        raise StateConflictError("only the latest operation of a shop can be tried again")
    try:
        with transaction.atomic():
            transitions.move(
                operation,
                OperationState.PENDING,
                reason="tried again on request",
                attempts=0,
                run_after=Now(),
                lease_until=None,
                lease_owner="",
                cancel_requested=False,
                error_code="",
                error_message="",
                finished_at=None,
                deadline_at=Now() + timedelta(seconds=settings.OPERATION_DEADLINE_SECONDS),
            )
    except IntegrityError as error:
        raise OperationOpenError("another operation of this shop is still running") from error
    operation.steps.update(state=StepState.WAITING, detail="", started_at=None, finished_at=None)
    tenant = Tenant.objects.get(pk=operation.tenant_id)
    if tenant.state == TenantState.FAILED:
        transitions.move(tenant, TenantState.REQUESTED, reason="tried again on request")
    dispatch.hand_over(operation.pk)


@transaction.atomic
def cancel(operation: Operation) -> None:
    """Ask an open operation to stop; its worker, or the sweep, ends it and cleans up.

    Raises StateConflictError when it has already ended, or is a removal: half a shop is none.
    """
    if operation.verb == Verb.REMOVE:
        raise StateConflictError("a removal cannot be stopped once it has been asked for")
    changed = Operation.objects.filter(pk=operation.pk, state__in=OPEN_OPERATION_STATES).update(
        cancel_requested=True, run_after=Now()
    )
    if not changed:
        raise StateConflictError("the operation has already ended")
    dispatch.hand_over(operation.pk)


@transaction.atomic
def supersede(tenant: Tenant, *, reason: str) -> None:
    """End the tenant's open operation, whoever works on it: a stronger verb follows.

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


def _lock_tenant(tenant_id: int) -> int:
    """Hold the tenant's row until the transaction ends; gives its fence."""
    return (
        Tenant.objects.select_for_update(no_key=True)
        .values_list("fence", flat=True)
        .get(pk=tenant_id)
    )


def _is_leaving(tenant_id: int) -> bool:
    return Tenant.objects.filter(
        pk=tenant_id, state__in=(TenantState.REMOVING, TenantState.REMOVED)
    ).exists()


def _held(lease: Lease) -> QuerySet[Operation]:
    return Operation.objects.filter(
        pk=lease.operation_id, fence=lease.fence, state=OperationState.RUNNING
    )


def _end(lease: Lease, state: str, *, reason: str, **changes: object) -> None:
    _lock_tenant(lease.tenant_id)
    changed = _held(lease).update(
        state=state, finished_at=Now(), lease_until=None, lease_owner="", **changes
    )
    if changed != 1:
        raise LeaseLostError("the operation was taken over or has ended")
    transitions.journal(
        "operation", lease.operation_id, OperationState.RUNNING, state, reason=reason
    )


def _stop_steps(operation_pk: int, message: str) -> None:
    Step.objects.filter(operation_id=operation_pk, state=StepState.ACTIVE).update(
        state=StepState.FAILED, finished_at=Now(), detail=message[:300]
    )
