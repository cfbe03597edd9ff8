"""The tables of states are complete, and the one door through which a state changes keeps to them."""

import itertools

import pytest
from django.db import IntegrityError, transaction

from tenants.core import transitions
from tenants.core.models import Transition
from tenants.errors import StateConflictError
from tenants.operations import steps
from tenants.shops.models import Tenant
from tenants.states import (
    HOST_TRANSITIONS,
    INSTANCE_TRANSITIONS,
    OPEN_OPERATION_STATES,
    OPERATION_TRANSITIONS,
    TENANT_TRANSITIONS,
    HostHealth,
    InstanceState,
    OperationState,
    TenantState,
    Verb,
)
from tests.factories import make_shop

TABLES = [
    (TenantState, TENANT_TRANSITIONS),
    (InstanceState, INSTANCE_TRANSITIONS),
    (OperationState, OPERATION_TRANSITIONS),
    (HostHealth, HOST_TRANSITIONS),
]


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_has_a_row_in_its_table(states: type, table: dict[str, frozenset[str]]) -> None:
    assert set(table) == set(states)  # type: ignore[call-overload]
    assert set().union(*table.values()) <= set(states)  # type: ignore[call-overload]


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_no_state_leads_to_itself(states: type, table: dict[str, frozenset[str]]) -> None:
    assert [state for state, following in table.items() if state in following] == []


@pytest.mark.parametrize(
    ("table", "start", "end"),
    [
        (TENANT_TRANSITIONS, TenantState.REQUESTED, TenantState.REMOVED),
        (INSTANCE_TRANSITIONS, InstanceState.REQUESTED, InstanceState.RETIRED),
    ],
)
def test_the_end_can_be_reached_from_every_state_and_is_never_left(
    table: dict[str, frozenset[str]], start: str, end: str
) -> None:
    assert table[end] == frozenset()
    for state in table:
        reached, frontier = {state}, {state}
        while frontier:
            frontier = set().union(*(table[one] for one in frontier)) - reached
            reached |= frontier
        assert end in reached, f"{state} never ends"
    assert start in table


def test_every_verb_has_steps_and_a_step_has_one_place_in_it() -> None:
    assert set(steps.STEPS) == set(Verb)
    for verb in Verb:
        phases = steps.phases(verb)
        assert len(set(phases)) == len(phases) > 0
        # What people see as one step follows each other.
        shown = [one.name for one in steps.STEPS[verb]]
        assert list(steps.names(verb)) == [name for name, _ in itertools.groupby(shown)]


# A recovery whose new host is lost too looks for a third one. A cancel stays too late: the furthest step
# decides (tests/workers/flows/test_lost_host.py).
_TRIES_ACROSS = {Verb.RECOVER}


@pytest.mark.parametrize("verb", Verb)
def test_a_cancel_is_heard_up_to_one_point_and_no_try_goes_back_across_it(verb: str) -> None:
    table = steps.STEPS[verb]
    is_heard = [step.is_cancellable for step in table]
    assert is_heard == sorted(is_heard, reverse=True)
    phases = steps.phases(verb)
    for place, step in enumerate(table):
        first = phases.index(step.again_from or step.phase)
        assert first <= place
        if verb not in _TRIES_ACROSS:
            assert table[first].is_cancellable == step.is_cancellable
            assert not (step.is_pivot and first < place)


def test_an_open_operation_is_one_that_can_still_succeed() -> None:
    for state in OperationState:
        is_open = state in OPEN_OPERATION_STATES
        following = OPERATION_TRANSITIONS[state]
        assert is_open == bool({OperationState.SUCCEEDED, OperationState.RUNNING} & set(following))


@pytest.mark.django_db
@pytest.mark.parametrize(("old", "new"), list(itertools.product(TenantState, TenantState)))
def test_a_tenant_moves_only_where_the_table_lets_it(old: str, new: str) -> None:
    tenant = make_shop().tenant
    Tenant.objects.filter(pk=tenant.pk).update(state=old)
    tenant.refresh_from_db()
    before = Transition.objects.count()
    if new in TENANT_TRANSITIONS[old]:
        transitions.move(tenant, new, reason="a test")
        assert Tenant.objects.get(pk=tenant.pk).state == new
        row = Transition.objects.latest("pk")
        assert (row.subject, row.subject_id, row.old_state, row.new_state) == (
            "tenant",
            tenant.pk,
            old,
            new,
        )
    else:
        with pytest.raises(StateConflictError):
            transitions.move(tenant, new, reason="a test")
        assert Tenant.objects.get(pk=tenant.pk).state == old
        assert Transition.objects.count() == before


@pytest.mark.django_db
def test_a_move_from_a_state_that_is_over_changes_nothing_and_writes_no_journal() -> None:
    tenant = make_shop().tenant
    stale = Tenant.objects.get(pk=tenant.pk)
    transitions.move(tenant, TenantState.LIVE, reason="it answers")
    before = Transition.objects.count()
    with pytest.raises(StateConflictError, match="no longer requested"):
        transitions.move(stale, TenantState.FAILED, reason="too late")
    assert Tenant.objects.get(pk=tenant.pk).state == TenantState.LIVE
    assert Transition.objects.count() == before


@pytest.mark.django_db
def test_the_database_refuses_a_state_that_is_in_no_table() -> None:
    tenant = make_shop().tenant
    with pytest.raises(IntegrityError, match="tenant_state_is_known"), transaction.atomic():
        Tenant.objects.filter(pk=tenant.pk).update(state="asleep")
