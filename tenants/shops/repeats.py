"""Trying a failed operation again: one rule per verb, for everybody who may ask.

A repeat is asked for anew: what would be refused to somebody who asks for the first time is refused
here too. What a shop's own people may not stop they may not repeat either.
"""

from collections.abc import Callable

from django.db import transaction

from tenants.errors import StateConflictError
from tenants.operations import operations, progress
from tenants.operations.models import Operation
from tenants.pool.models import Drain
from tenants.shops.models import Tenant
from tenants.states import DataChoice, DrainState, Verb
from tenants.transfers import moves, restores


@transaction.atomic
def retry(operation: Operation, *, is_operator: bool = True) -> None:
    """Open a failed operation again with fresh attempts and a fresh deadline, and hand it over.

    is_operator: False for the shop's own people.
    Raises StateConflictError unless it is theirs to repeat, failed, is the latest operation of the tenant
    and could be asked for now. Raises TooManyMovesError, OperationOpenError as a new request does.
    """
    operations.check_steers(operation, is_operator=is_operator)
    operations.lock_failed(operation)
    check = _CHECKS.get(operation.verb)
    if check is not None:
        check(operation)
    operations.reopen(operation, arguments=_asked(operation))


def _check_move(operation: Operation) -> None:
    drain = operation.arguments.get("drain")
    if drain and not Drain.objects.filter(pk=drain, state=DrainState.RUNNING).exists():
        raise StateConflictError(
            "this move was part of emptying a host, which has ended; ask for a new move"
        )
    moves.check_may_begin(operation.instance, to=str(operation.arguments.get("to", "")))


def _check_restore(operation: Operation) -> None:
    restores.check_may_begin(operation.tenant, str(operation.arguments.get("snapshot", "")))


def _check_recovery(operation: Operation) -> None:
    if operation.arguments.get("choice") == DataChoice.EMPTY:
        raise StateConflictError(
            "a shop begins empty only when its name is typed: choose on its page, or with"
            f" `stoa tenants data {operation.tenant.slug} --begin-empty`; one that has begun is"
            " repaired by itself"
        )


def _check_sign_up(operation: Operation) -> None:
    state = Tenant.objects.values_list("state", flat=True).get(pk=operation.tenant_id)
    if progress.is_left_to_platform(operation.verb, state):
        raise StateConflictError(
            "this shop was open already: the platform starts it again by itself, or its page says what"
            " can be done"
        )


_CHECKS: dict[str, Callable[[Operation], None]] = {
    Verb.MOVE: _check_move,
    Verb.RESTORE: _check_restore,
    Verb.RECOVER: _check_recovery,
    Verb.PROVISION: _check_sign_up,
}
# What was asked for; the rest of these verbs' arguments tells how far the last try had come.
_ASKED: dict[str, tuple[str, ...]] = {
    Verb.MOVE: ("to", "reason", "drain"),
    Verb.RESTORE: ("snapshot",),
}


def _asked(operation: Operation) -> dict[str, object]:
    names = _ASKED.get(operation.verb)
    arguments: dict[str, object] = operation.arguments
    return arguments if names is None else {n: arguments[n] for n in names if n in arguments}
