"""A move ends with exactly one running container and every order, wherever it was interrupted."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from runtime.errors import HostUnreachableError, UnhealthyError
from tenants.catalogue.models import Release
from tenants.errors import (
    OperationOpenError,
    StateConflictError,
    TooManyMovesError,
)
from tenants.operations import leases, operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement, PortQuarantine
from tenants.pool.models import Host, HostReport
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.snapshots.repositories import RepositoryError
from tenants.states import InstanceState, OperationState, StepState
from tenants.transfers import moves
from tenants.transfers.models import Move
from tests.workers.flows.losses import KilledError
from tests.workers.flows.pool import QUIET, Pool
from workers.flows.steps import hold_swap, volumes
from workers.reconcilers import drains, instances


def test_a_move_takes_the_shop_and_its_orders_to_the_other_host(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    assert pool.world.run(operation) == "done"
    pool.check_one(instance)
    assert pool.place(instance) == "second"
    assert pool.orders("second", instance) == {"first"}
    assert pool.volumes("local") == set()
    move = Move.objects.get()
    assert (move.end, move.is_switched, operation.phase) == ("done", True, "clear")
    assert move.held_ms is not None
    assert {"save", "load", "stop", "start", "route"} <= move.timings_ms.keys()
    assert {step.state for step in operation.steps.all()} == {StepState.DONE}
    assert PortQuarantine.objects.get().host.name == "local"


def test_requests_are_held_from_the_stop_until_the_new_place_answers(pool: Pool) -> None:
    instance = pool.shop()
    pool.world.edges.told.clear()
    pool.world.run(pool.ask(instance))
    new = pool.route(instance)
    assert [value for _, value in pool.world.edges.told] == ["acme@hold", new]
    calls = [call for call, _ in pool.drivers["local"].calls if call.startswith(("save", "ensure"))]
    assert calls == [
        "ensure_running",
        "save_volume",
        "ensure_stopped",
        "save_volume",
        "ensure_absent",
    ]


def test_an_order_that_comes_while_the_copy_runs_is_brought_too(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    take = volumes.take

    def take_and_sell(*args: object, **kwargs: object) -> None:
        take(*args, **kwargs)  # type: ignore[arg-type]
        if pool.running(instance):
            pool.order(instance, b"late")

    monkeypatch.setattr(volumes, "take", take_and_sell)
    pool.world.run(pool.ask(instance))
    assert pool.orders("second", instance) == {"first", "late"}


def test_without_a_volume_the_target_starts_first_and_nobody_is_held(pool: Pool) -> None:
    Release.objects.update(has_volume=False)
    instance = Instance.objects.select_related("tenant").get(tenant=pool.world.live_tenant())
    pool.world.edges.told.clear()
    assert pool.world.run(pool.ask(instance)) == "done"
    pool.check_one(instance)
    assert "acme@hold" not in [value for _, value in pool.world.edges.told]
    names = [call for call, _ in pool.drivers["local"].calls]
    assert "ensure_stopped" not in names


def test_a_request_that_lasts_is_let_go_and_tried_again_and_in_the_end_not_waited_for(
    pool: Pool,
) -> None:
    instance = pool.shop()
    old = pool.route(instance)
    pool.world.edges.busy[old] = 1
    operation = pool.ask(instance)
    for _ in range(3):
        assert pool.world.run(operation) == "again later"
        assert operation.error_code == "busy_shop"
        assert pool.route(instance) == old
        assert pool.running(instance) == ["local"]
    assert pool.world.run(operation) == "done"
    pool.check_one(instance)


def test_an_edge_that_does_not_take_the_hold_leaves_the_shop_as_it_was(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    pool.world.edges.deaf.add("local")
    assert pool.world.run(operation) == "waits"
    assert operation.error_code == "edges_silent"
    assert pool.running(instance) == ["local"]
    pool.world.edges.deaf.clear()
    assert pool.world.run(operation) == "done"
    pool.check_one(instance)


def test_a_target_on_which_the_shop_does_not_start_brings_it_back(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    pool.drivers["second"].fail_next("ensure_running", UnhealthyError("no answer"))
    assert pool.world.run(operation) == "failed"
    assert operation.error_code == "swap_failed"
    assert pool.place(instance) == "local"
    pool.check_one(instance)
    assert pool.orders("local", instance) == {"first"}
    assert pool.volumes("second") == set()
    assert Move.objects.get().end == "undone"
    assert Instance.objects.get().state == InstanceState.RUNNING


def test_a_copy_that_is_lost_under_the_hold_brings_the_shop_back_at_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    take, taken = volumes.take, 0

    def take_once(*args: object, **kwargs: object) -> object:
        nonlocal taken
        taken += 1
        if taken == 2:
            raise RepositoryError("the repository is away")
        return take(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(volumes, "take", take_once)
    assert pool.world.run(operation) == "failed"
    assert (operation.error_code, operation.attempts) == ("swap_failed", 1)
    assert pool.place(instance) == "local"
    pool.check_one(instance)
    assert pool.volumes("second") == set()


def test_a_source_that_cannot_be_started_again_is_told_as_it_is(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    pool.drivers["second"].fail_next("ensure_running", UnhealthyError("no answer"))
    pool.drivers["local"].fail_next("ensure_running", HostUnreachableError("gone"))
    assert pool.world.run(operation) == "failed"
    instance.refresh_from_db()
    assert instance.state == InstanceState.FAILED
    assert pool.place(instance) == "local"
    assert pool.orders("local", instance) == {"first"}
    # What reconcile does a minute later.
    repair = operations.open_operation(instance, "repair")
    assert pool.settle(repair) == OperationState.SUCCEEDED
    pool.check_one(instance)


def test_a_source_that_falls_silent_after_the_switch_is_cleared_later(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    for _ in range(20):
        pool.drivers["local"].fail_next("ensure_absent", HostUnreachableError("gone"))
    assert pool.settle(operation) == OperationState.SUCCEEDED
    assert pool.place(instance) == "second"
    assert pool.running(instance) == ["second"]
    assert Move.objects.get().ended_at is None
    assert Host.objects.get(name="local").booked_memory_bytes > 0
    with pytest.raises(OperationOpenError, match="cleared away"):
        pool.ask(instance, "third")


def arm(pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, int, str]) -> None:
    """Let the worker be killed at that call, before or after it has done its work."""
    name, nth, when = point
    host, _, call = name.rpartition(" ")
    if name.startswith("begin "):
        owner: object = leases
        phase, call = call, "begin_step"
    elif host:
        owner, phase = pool.drivers[host], ""
    elif name == "apply":
        owner, phase = pool.world.edges, ""
    else:
        owner, phase = (volumes if name in ("take", "bring") else moves), ""
    work: Callable[..., object] = getattr(owner, call)
    seen = 0

    def killed(*args: object, **kwargs: object) -> object:
        nonlocal seen
        if phase and phase not in args:
            return work(*args, **kwargs)
        seen += 1
        if seen == nth and when == "before":
            raise KilledError
        told = work(*args, **kwargs)
        if seen == nth:
            raise KilledError
        return told

    monkeypatch.setattr(owner, call, killed)


def rearm(monkeypatch: pytest.MonkeyPatch) -> None:
    """After monkeypatch.undo: the short patience again."""
    monkeypatch.setattr(hold_swap, "QUIET_SECONDS", QUIET)


def test_reconcile_neither_stops_the_new_nor_starts_the_old(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    arm(pool, monkeypatch, ("change_place", 1, "before"))
    with pytest.raises(KilledError):
        pool.world.run(operation)
    report(pool)
    assert instances.carry_out(pool.clients.driver_for) == ""
    assert pool.running(instance) == ["second"]
    assert Operation.objects.filter(verb="repair").count() == 0


def test_a_report_from_before_the_switch_opens_no_repair(pool: Pool) -> None:
    instance = pool.shop()
    report(pool)
    assert pool.world.run(pool.ask(instance)) == "done"
    # The reports are a second older than the move, and the shop has been running for an hour.
    Instance.objects.update(state_since=Now() - timedelta(hours=1))
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=1))
    instances.carry_out(pool.clients.driver_for)
    assert Operation.objects.filter(verb="repair").count() == 0


def test_reconcile_leaves_what_a_move_left_to_be_cleared_with_its_volume(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    for _ in range(20):
        pool.drivers["local"].fail_next("ensure_absent", HostUnreachableError("gone"))
    assert pool.settle(operation) == OperationState.SUCCEEDED
    pool.drivers["local"]._failures.clear()
    Operation.objects.update(finished_at=Now() - timedelta(hours=1))
    Instance.objects.update(state_since=Now() - timedelta(hours=1))
    Placement.objects.exclude(until=None).update(until=Now() - timedelta(hours=1))
    report(pool)
    assert instances.carry_out(pool.clients.driver_for) == ""
    assert drains._clear_leftovers(pool.clients) == 1
    assert pool.volumes("local") == set()
    assert pool.running(instance) == ["second"]


def report(pool: Pool) -> None:
    """Every host says what it holds, now."""
    for name, driver in pool.drivers.items():
        HostReport.objects.filter(host__name=name).update(
            seen_at=Now(),
            inventory=[
                {
                    "instance_id": one.instance_id,
                    "state": one.state.value,
                    "fence": {"epoch": one.fence.epoch, "number": one.fence.number},
                }
                for one in driver.list()
            ],
        )


def test_what_cannot_be_moved_is_refused_with_the_reason(pool: Pool) -> None:
    instance = pool.shop()
    with pytest.raises(StateConflictError, match="already on local"):
        pool.ask(instance, "local")
    Host.objects.filter(name="third").update(state="cordoned")
    with pytest.raises(StateConflictError, match="cordoned, not open"):
        pool.ask(instance, "third")
    removals.request(instance.tenant)
    with pytest.raises(StateConflictError, match="only a shop that runs"):
        pool.ask(instance, "second")


def test_no_more_moves_are_begun_than_may_be_at_once(pool: Pool, settings: Settings) -> None:
    settings.STOA_MOVES_AT_ONCE = 1
    first, second = pool.shop("one"), pool.shop("two")
    pool.ask(first)
    with pytest.raises(TooManyMovesError):
        pool.ask(second)
