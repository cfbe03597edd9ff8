"""The one runner: what it records first, where it goes on, how it goes back, and what a cancel may expect."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest
from django.db.models import F

from runtime.errors import HostUnreachableError, UnhealthyError
from tenants.errors import StateConflictError
from tenants.operations import operations, steps
from tenants.operations.models import Operation
from tenants.placement.models import Placement, Route
from tenants.pool.models import Edge
from tenants.shops import removals, repeats
from tenants.shops.models import Tenant
from tenants.states import OperationState, Verb
from tenants.transfers import restores
from tests.workers.conftest import World, make_edge
from tests.workers.flows.pool import Pool
from workers.flows.running.flow import Context, FlowStep, Work, table
from workers.flows.steps import routing, volumes
from workers.flows.tables import TABLES
from workers.pool import mapping
from workers.rpc.edge_types import EdgeSeat, RouteMessage, Spread

pytestmark = pytest.mark.django_db


class KilledError(BaseException):
    """The worker's process is gone."""


def wrap(
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    phase: str,
    part: str,
    around: Callable[[Context, Callable[[Context], None]], None],
) -> None:
    """Have a step's act or undo called by `around`, in the table alone."""
    flow = TABLES[verb]

    def wrapped(step: FlowStep[Context]) -> FlowStep[Context]:
        work = getattr(step, part)
        if step.phase != phase:
            return step

        def called(context: Context) -> None:
            around(context, work)

        return replace(step, act=called) if part == "act" else replace(step, undo=called)

    made = replace(flow, steps=tuple(wrapped(step) for step in flow.steps))
    monkeypatch.setitem(TABLES, verb, made)


def row(operation: Operation) -> Operation:
    return Operation.objects.get(pk=operation.pk)


def test_each_phase_is_in_the_record_before_its_step_acts(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    seen: list[tuple[str, str]] = []
    for phase in steps.phases(Verb.MOVE):

        def look(context: Context, act: Callable[[Context], None], phase: str = phase) -> None:
            seen.append((phase, row(operation).phase))
            act(context)

        wrap(monkeypatch, Verb.MOVE, phase, "act", look)
    assert pool.world.run(operation) == "done"
    assert seen == [(phase, phase) for phase in steps.phases(Verb.MOVE)]


def test_who_died_while_it_went_back_is_followed_by_one_that_goes_on_back(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    pool.drivers["second"].fail_next("ensure_running", UnhealthyError("no answer"))

    def killed(context: Context, undo: Callable[[Context], None]) -> None:
        undo(context)
        raise KilledError

    with monkeypatch.context() as patch:
        wrap(patch, Verb.MOVE, "hold", "undo", killed)
        with pytest.raises(KilledError):
            pool.world.run(operation)
    operation.refresh_from_db()
    assert (operation.unwind_code, operation.state) == ("swap_failed", OperationState.RUNNING)
    with pytest.raises(StateConflictError, match="goes back already"):
        operations.cancel(operation)
    # It could go on forwards now, and has tries left: what was recorded counts.
    assert pool.settle(operation) == OperationState.FAILED
    assert (operation.error_code, operation.error_message) == ("swap_failed", "no answer")
    pool.check_one(instance)
    assert pool.place(instance) == "local"
    repeats.retry(operation)
    assert (row(operation).phase, row(operation).unwind_code) == ("", "")
    assert pool.settle(operation) == OperationState.SUCCEEDED
    assert pool.place(instance) == "second"


def test_what_cannot_be_undone_yet_is_tried_until_it_can(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    pool.drivers["second"].fail_next("ensure_running", UnhealthyError("no answer"))

    def broken(_: Context, __: Callable[[Context], None]) -> None:
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        wrap(patch, Verb.MOVE, "hold", "undo", broken)
        for _ in range(10):  # more often than an operation has attempts
            assert pool.world.run(operation) == "waits"
        assert operation.error_code == "undoing"
    assert pool.settle(operation) == OperationState.FAILED
    assert operation.error_code == "swap_failed"
    pool.check_one(instance)


def test_a_cancel_that_was_granted_in_the_last_step_is_heard(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = pool.world.sign_up()

    def called_off(context: Context, act: Callable[[Context], None]) -> None:
        act(context)
        operations.cancel(row(operation), is_operator=False)

    wrap(monkeypatch, Verb.PROVISION, "check", "act", called_off)
    assert pool.world.run(operation) == "cancelled"
    assert operation.state == OperationState.CANCELLED


def test_requests_that_a_killed_worker_held_are_let_go_before_another_copy(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    old = pool.route(instance)
    operation = pool.ask(instance)

    def killed(context: Context, act: Callable[[Context], None]) -> None:
        act(context)
        raise KilledError

    def broken(*_: str) -> None:
        raise HostUnreachableError("silent")

    with monkeypatch.context() as patch:
        wrap(patch, Verb.MOVE, "hold", "act", killed)
        with pytest.raises(KilledError):
            pool.world.run(operation)
    assert pool.route(instance) == "acme@hold"
    Operation.objects.filter(pk=operation.pk).update(lease_until=None)
    with monkeypatch.context() as patch:
        patch.setattr(pool.drivers["second"], "ensure_image", broken)
        assert pool.world.run(operation) == "again later"
    assert pool.route(instance) == old
    # It has been at the hold, and says so: nothing before that is forgotten on the way back.
    assert row(operation).phase == "hold"
    operations.cancel(operation)
    assert pool.settle(operation) == OperationState.CANCELLED
    pool.check_one(instance)


@pytest.mark.parametrize(
    "then",
    [{"applied_sequence": 10**9}, {"is_synced": False}],
    ids=["has passed", "serves no more"],
)
def test_an_edge_that_did_not_answer_is_waited_for_until_it_has_passed_or_serves_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch, then: dict[str, object]
) -> None:
    late = make_edge("late")
    world.edges.deaf.add("late")
    monkeypatch.setattr(routing, "PASS_SECONDS", 20.0)
    apply, looks = world.edges.apply, mapping.edges

    def reports(edges: Collection[EdgeSeat], routes: Sequence[RouteMessage]) -> Spread:
        Edge.objects.filter(pk=late.pk).update(applied_sequence=routes[0].sequence - 1)
        told: Spread = apply(edges, routes)
        return told

    asked = 0

    def edges() -> tuple[EdgeSeat, ...]:
        nonlocal asked
        asked += 1
        if asked == 3:  # read from the record: the first says who is told
            Edge.objects.filter(pk=late.pk).update(**then)
        return looks()

    monkeypatch.setattr(world.edges, "apply", reports)
    monkeypatch.setattr(mapping, "edges", edges)
    assert world.run(world.sign_up()) == "done"
    assert asked >= 3


def test_a_lost_lease_ends_the_work_before_the_next_step(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)

    def taken_over(context: Context, act: Callable[[Context], None]) -> None:
        act(context)
        Operation.objects.filter(pk=operation.pk).update(fence=F("fence") + 1)

    wrap(monkeypatch, Verb.MOVE, "copy", "act", taken_over)
    assert pool.world.run(operation) == "taken over"
    assert row(operation).phase == "copy"
    assert pool.running(instance) == ["local"]
    assert pool.route(instance) != "acme@hold"


@pytest.mark.parametrize("part", ["act", "undo"])
@pytest.mark.parametrize("verb", [Verb.MOVE, Verb.RESTORE])
def test_a_worker_that_a_removal_overtook_changes_no_route(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, verb: str, part: str
) -> None:
    instance = pool.shop()
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    tenant = Tenant.objects.get(pk=instance.tenant_id)
    if verb == Verb.MOVE:
        operation = pool.ask(instance)
    else:
        copy = volumes.take(None, tenant, placement, pool.clients, reason="asked")
        operation = restores.request(tenant, copy)
    starts = "second" if verb == Verb.MOVE else "local"

    def overtaken(context: Context, work: Callable[[Context], None]) -> None:
        assert pool.settle(removals.request(tenant)) == OperationState.SUCCEEDED
        work(context)

    wrap(monkeypatch, verb, "hold", part, overtaken)
    if part == "undo":
        pool.drivers[starts].fail_next("ensure_running", UnhealthyError("no answer"))
    assert pool.world.run(operation) == "taken over"
    assert pool.route(instance) == ""
    assert Route.objects.get(tenant=tenant).value == ""
    assert pool.running(instance) == []


def test_a_table_that_does_not_fit_its_facts_ends_the_import() -> None:
    flow = TABLES[Verb.REMOVE]
    work = {step.phase: Work(step.act) for step in flow.steps}
    for wrong in (
        {phase: one for phase, one in work.items() if phase != "stop"},
        {**work, "burn": Work()},
        dict(reversed(work.items())),
    ):
        with pytest.raises(ValueError, match=r"tenants/operations/steps\.py has the steps"):
            table(Verb.REMOVE, wrong, open=flow.open, succeed=flow.succeed, fail=flow.fail)
    assert set(TABLES) == set(Verb)
