"""Nobody repeats what he may not stop, and a repeat is refused where a new one would be."""

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from tenants.errors import StateConflictError, TooManyMovesError
from tenants.operations import operations, steps
from tenants.operations.models import Operation
from tenants.operations.progress import progress_of
from tenants.placement import placements
from tenants.placement.models import Placement
from tenants.pool.models import Drain, Host
from tenants.shops import repeats
from tenants.shops.models import Instance, Tenant
from tenants.states import (
    PLATFORM_VERBS,
    DrainState,
    InstanceState,
    OperationState,
    TenantState,
    Verb,
)
from tenants.transfers import moves
from tests.factories import make_host, make_shop

pytestmark = pytest.mark.django_db


def failed(verb: str, **arguments: object) -> Operation:
    made = make_shop(f"shop-{verb}")
    Operation.objects.filter(pk=made.operation.pk).update(
        verb=verb, arguments=arguments, state=OperationState.FAILED, finished_at=Now()
    )
    return Operation.objects.get(pk=made.operation.pk)


def live(operation: Operation) -> Instance:
    """Its shop runs on a host, as far as the record goes."""
    Tenant.objects.filter(pk=operation.tenant_id).update(state=TenantState.LIVE)
    Instance.objects.filter(pk=operation.instance_id).update(state=InstanceState.RUNNING)
    instance = Instance.objects.select_related("tenant").get(pk=operation.instance_id)
    Placement.objects.create(
        instance=instance,
        host=make_host("one"),
        port=20001,
        cpu_millis=10,
        memory_bytes=1,
        disk_bytes=1,
    )
    return instance


@pytest.mark.parametrize("verb", Verb)
def test_the_shop_s_own_people_may_repeat_exactly_what_they_may_stop(verb: str) -> None:
    operation = failed(verb)
    Operation.objects.filter(pk=operation.pk).update(state=OperationState.RUNNING)
    try:
        operations.cancel(operation, is_operator=False)
        may_stop = True
    except StateConflictError:
        may_stop = verb == Verb.REMOVE  # asked for by themselves, and finished by all means
    Operation.objects.filter(pk=operation.pk).update(state=OperationState.FAILED)
    operation.refresh_from_db()
    if (
        may_stop and verb != Verb.RESTORE
    ):  # which needs its copy: tests/workers/flows/test_restore.py
        repeats.retry(operation, is_operator=False)
        return
    assert verb in (*PLATFORM_VERBS, Verb.RESTORE)
    with pytest.raises(StateConflictError):
        repeats.retry(operation, is_operator=False)


def test_nobody_repeats_the_sign_up_of_a_shop_that_was_open() -> None:
    operation = failed(Verb.PROVISION)
    live(operation)
    with pytest.raises(StateConflictError, match="starts it again by itself"):
        repeats.retry(operation)
    with pytest.raises(StateConflictError, match="starts it again by itself"):
        repeats.retry(operation, is_operator=False)
    assert Operation.objects.get(pk=operation.pk).state == OperationState.FAILED


def test_to_begin_empty_is_repeated_only_by_who_types_the_name_again() -> None:
    operation = failed(Verb.RECOVER, choice="empty")
    with pytest.raises(StateConflictError, match="its name is typed"):
        repeats.retry(operation)
    Operation.objects.filter(pk=operation.pk).update(arguments={"choice": "newest"})
    repeats.retry(operation)
    assert Operation.objects.get(pk=operation.pk).state == OperationState.PENDING


def test_a_move_is_not_repeated_past_the_limit_of_moves(settings: Settings) -> None:
    settings.STOA_MOVES_AT_ONCE = 0
    operation = failed(Verb.MOVE, to="", reason="a test", drain=None)
    live(operation)
    with pytest.raises(TooManyMovesError):
        repeats.retry(operation)


def test_a_move_of_a_drain_that_has_ended_is_not_repeated() -> None:
    operation = failed(Verb.MOVE, to="", reason="drain")
    instance = live(operation)
    placement = placements.open_placement(instance)
    assert placement is not None
    drain = Drain.objects.create(
        total=1, host=placement.host, state=DrainState.CANCELLED, ended_at=Now()
    )
    Operation.objects.filter(pk=operation.pk).update(arguments={"to": "", "drain": drain.pk})
    with pytest.raises(StateConflictError, match="emptying a host, which has ended"):
        repeats.retry(operation)
    Drain.objects.update(state=DrainState.RUNNING, ended_at=None)
    repeats.retry(operation)
    assert Operation.objects.get(pk=operation.pk).state == OperationState.PENDING


def test_a_move_to_a_host_that_is_closed_now_is_not_repeated() -> None:
    operation = failed(Verb.MOVE, to="two", reason="a test", drain=None)
    instance = live(operation)
    Host.objects.filter(pk=make_host("two").pk).update(state="cordoned")
    with pytest.raises(StateConflictError, match="cordoned, not open"):
        repeats.retry(operation)
    with pytest.raises(StateConflictError, match="cordoned, not open"):
        moves.check_may_begin(instance, to="two")


@pytest.mark.parametrize("verb", Verb)
def test_the_page_offers_to_stop_exactly_what_can_be_stopped(verb: str) -> None:
    operation = failed(verb)
    rows = Operation.objects.filter(pk=operation.pk)
    for phase in ("", *steps.phases(verb)):
        for unwind_code in ("", "deadline"):
            rows.update(
                state=OperationState.RUNNING,
                phase=phase,
                unwind_code=unwind_code,
                cancel_requested=False,
            )
            offered = progress_of([operation.public_id])[operation.public_id].may_be_stopped
            try:
                operations.cancel(operation, is_operator=False)
                is_stopped = True
            except StateConflictError:
                is_stopped = False
            assert offered is is_stopped, (phase, unwind_code)
            assert rows.get().cancel_requested is is_stopped
