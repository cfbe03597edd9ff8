"""Opens, leases, advances and ends operations.

A worker holds an operation only while its lease lasts, and every write it makes is guarded by
(id, fence, state = running): whoever lost the lease changes nothing. All times are PostgreSQL's.
"""

from dataclasses import dataclass
from datetime import timedelta
from random import uniform

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, When
from django.db.models.functions import Least, Now

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
from tenants.states import OPEN_OPERATION_STATES, STEPS, OperationState, StepState

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 60)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work one operation: pass it to every call that records progress."""

    operation_id: int
    tenant_id: int
    fence: int


@transaction.atomic
def open_operation(
    instance: Instance, verb: str, *, requested_by: Member | None = None
) -> Operation:
    """Write a new operation with its steps and hand it over on commit.

    Raises OperationOpenError when the tenant already has an open one.
    """
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


@transaction.atomic
def claim(operation_pk: int, *, owner: str) -> Lease | None:
    """Take the operation for LEASE_SECONDS; None when it is done, held, or not due yet.

    Raises nothing: a claim that fails is somebody else's luck.
    """
    operation = (
        Operation.objects.select_for_update(skip_locked=True)
        .filter(
            Q(lease_until__isnull=True) | Q(lease_until__lt=Now()),
            pk=operation_pk,
            state__in=OPEN_OPERATION_STATES,
            run_after__lte=Now(),
        )
        .only("pk", "tenant_id", "state", "attempts")
        .first()
    )
    if operation is None:
        return None
    # Bumped at every claim, under the tenant's row lock: a host refuses any lower number.
    Tenant.objects.filter(pk=operation.tenant_id).update(fence=F("fence") + 1)
    fence = Tenant.objects.values_list("fence", flat=True).get(pk=operation.tenant_id)
    old_state = operation.state
    Operation.objects.filter(pk=operation_pk).update(
        state=OperationState.RUNNING,
        fence=fence,
        lease_owner=owner[:80],
        lease_until=_lease_end(),
        attempts=F("attempts") + 1,
        started_at=Case(When(started_at__isnull=True, then=Now()), default=F("started_at")),
    )
    if old_state != OperationState.RUNNING:
        transitions.journal(
            "operation",
            operation_pk,
            old_state,
            OperationState.RUNNING,
            reason=f"claimed by {owner}",
        )
    return Lease(operation_id=operation_pk, tenant_id=operation.tenant_id, fence=fence)


def renew(lease: Lease) -> None:
    """Hold on for another LEASE_SECONDS, never past the deadline. Raises LeaseLostError."""
    if _held(lease).update(lease_until=_lease_end()) != 1:
        raise LeaseLostError("the operation was taken over or has ended")


def check(lease: Lease) -> None:
    """Call before each driver call. Raises LeaseLostError, or CancelledError when asked to stop."""
    row = _held(lease).values_list("cancel_requested", flat=True).first()
    if row is None:
        raise LeaseLostError("the operation was taken over or has ended")
    if row:
        raise CancelledError("somebody asked this operation to stop")


def begin_step(lease: Lease, name: str) -> None:
    """Mark a step as being worked on, and every step before it as done. Raises LeaseLostError."""
    check(lease)
    steps = Step.objects.filter(operation_id=lease.operation_id)
    position = STEPS_POSITION[name]
    steps.filter(position__lte=position).exclude(
        state=StepState.DONE, position__lt=position
    ).update(
        state=Case(When(position=position, then=StepState.ACTIVE), default=StepState.DONE),
        started_at=Case(When(started_at__isnull=True, then=Now()), default=F("started_at")),
        finished_at=Case(When(position__lt=position, then=Now()), default=None),
        detail="",
    )


STEPS_POSITION = {name: position for names in STEPS.values() for position, name in enumerate(names)}


@transaction.atomic
def succeed(lease: Lease, *, reason: str = "done") -> None:
    """End the operation well; the last write of a flow's record part. Raises LeaseLostError."""
    _end(lease, OperationState.SUCCEEDED, reason=reason)
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
def repeat_later(lease: Lease, *, code: str, message: str) -> bool:
    """Give the lease back and try again after a jittered pause.

    Returns False, changing nothing, when attempts or time are used up: then `fail` it.
    Raises LeaseLostError.
    """
    operation = _held(lease).select_for_update().first()
    if operation is None:
        raise LeaseLostError("the operation was taken over or has ended")
    pause = BACKOFF_SECONDS[min(operation.attempts, len(BACKOFF_SECONDS)) - 1] * uniform(0.8, 1.2)  # noqa: S311
    due = Now() + timedelta(seconds=pause)
    if operation.attempts >= operation.max_attempts:
        return False
    changed = (
        _held(lease)
        .filter(deadline_at__gt=due)
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

    Raises StateConflictError unless it failed, OperationOpenError when another one is open.
    """
    if operation.state != OperationState.FAILED:
        raise StateConflictError("only a failed operation can be tried again")
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
    dispatch.hand_over(operation.pk)


@transaction.atomic
def cancel(operation: Operation) -> None:
    """Ask an open operation to stop; its worker, or the sweep, ends it and cleans up.

    Raises StateConflictError when it has already ended.
    """
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


def _held(lease: Lease):  # type: ignore[no-untyped-def]
    return Operation.objects.filter(
        pk=lease.operation_id, fence=lease.fence, state=OperationState.RUNNING
    )


def _lease_end() -> Least:
    return Least(Now() + timedelta(seconds=settings.LEASE_SECONDS), F("deadline_at"))


def _end(lease: Lease, state: str, *, reason: str, **changes: object) -> None:
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
