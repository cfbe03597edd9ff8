"""What is asked of operations: that they are opened, tried again, stopped.

Who works on one is in leases.py, and how each attempt ends in attempts.py.

Rows are locked in one order, the operation's before its tenant's. So a removal that supersedes an
operation and the worker that ends it wait for each other instead of deadlocking.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, PositiveSmallIntegerField, Value, When
from django.db.models.functions import Greatest, Least, Now

from tenants.accounts.models import Member
from tenants.core import dispatch, transitions
from tenants.errors import OperationOpenError, StateConflictError
from tenants.operations import attempts, steps
from tenants.operations.models import Operation
from tenants.shops.models import Instance, Tenant
from tenants.states import (
    LINE_VERBS,
    OPEN_OPERATION_STATES,
    OperationState,
    StepState,
    TenantState,
    Verb,
)

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
        attempts.stop_steps(operation.pk, reason)


def _hand_over(operation: Operation) -> None:
    """A hint that somebody is in line; or the operation's name, where it does not wait in line."""
    dispatch.hand_over(0 if operation.verb in LINE_VERBS else operation.pk)


def _is_leaving(tenant_id: int) -> bool:
    return Tenant.objects.filter(
        pk=tenant_id, state__in=(TenantState.REMOVING, TenantState.REMOVED)
    ).exists()
