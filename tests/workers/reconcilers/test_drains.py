"""Emptying a host: refused with numbers, driven a few at a time, done when the host itself says so."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from runtime.errors import HostUnreachableError, UnhealthyError
from tenants.core.models import FreezeSwitch, Transition
from tenants.errors import NoRoomError, StateConflictError
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import drain_progress, drains, fitting, hosts
from tenants.pool.fitting import Amounts, Fit
from tenants.pool.models import Drain, Host, HostReport
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.states import DrainState, HostState, OperationState
from tenants.transfers import moves
from tenants.transfers.models import Move
from tests.workers.conftest import MIB, World
from tests.workers.flows.pool import Pool, Shelf, make_pool
from tests.workers.flows.test_move import report
from workers.flows.steps import hold_swap
from workers.reconcilers import drains as driver


@pytest.fixture
def pool(world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pool:
    settings.STOA_SNAPSHOTS = str(tmp_path / "repository")
    monkeypatch.setattr(hold_swap, "QUIET_SECONDS", (0.02,))
    return make_pool(world, Shelf(tmp_path))


def shops_on_local(pool: Pool, count: int) -> list[Instance]:
    Host.objects.exclude(name="local").update(state=HostState.CORDONED)
    made = [pool.shop(f"shop-{number}") for number in range(count)]
    Host.objects.exclude(name="local").update(state=HostState.OPEN)
    assert {pool.place(one) for one in made} == {"local"}
    return made


def begin(pool: Pool) -> Drain:
    return drains.request(Host.objects.get(name="local"))


def work(pool: Pool) -> None:
    """Workers take what is open."""
    for operation in Operation.objects.filter(state__in=["pending", "running"]):
        pool.world.run(operation)


def test_a_host_is_emptied_a_few_at_a_time_and_done_when_it_says_so(
    pool: Pool, settings: Settings
) -> None:
    settings.STOA_MOVES_PER_HOST = 2
    made = shops_on_local(pool, 5)
    drain = begin(pool)
    assert Host.objects.get(name="local").state == HostState.DRAINING
    for expected in (2, 2, 1, 0):
        driver.carry_out(pool.clients)
        assert Operation.objects.filter(verb="move", state="pending").count() == expected
        driver.carry_out(pool.clients)
        assert Operation.objects.filter(verb="move", state="pending").count() == expected
        work(pool)
    for one in made:
        pool.check_one(one)
        assert pool.place(one) != "local"
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.RUNNING  # its report is from before
    report(pool)
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.DONE
    assert Host.objects.get(name="local").state == HostState.CORDONED
    told = Transition.objects.filter(subject="host").values_list("old_state", "new_state")
    assert list(told) == [("open", "draining"), ("draining", "cordoned")]


def test_a_host_that_still_holds_something_is_not_empty(pool: Pool) -> None:
    drain = begin(pool)
    report(pool)
    HostReport.objects.filter(host__name="local").update(inventory=[{"instance_id": "ins_x"}])
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.RUNNING
    assert drain_progress.progress(drain, timezone.now()).still_there == 1


def test_an_inventory_collected_before_the_last_shop_came_or_left_proves_nothing(
    pool: Pool,
) -> None:
    (instance,) = shops_on_local(pool, 1)
    drain = begin(pool)
    operation = removals.request(instance.tenant)
    assert pool.settle(operation) == "succeeded"
    Drain.objects.update(started_at=Now() - timedelta(minutes=5))
    # Read just now, and collected by a slow agent before the shop was started.
    report(pool)
    HostReport.objects.update(inventory=[], inventory_at=Now() - timedelta(minutes=1))
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.RUNNING
    HostReport.objects.update(inventory_at=Now())
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.DONE


def test_without_room_it_is_refused_up_front_with_the_numbers(pool: Pool) -> None:
    shops_on_local(pool, 3)
    Host.objects.exclude(name="local").update(capacity_memory_bytes=0)
    Host.objects.filter(name="second").update(capacity_memory_bytes=64 * MIB)
    with pytest.raises(NoRoomError, match=r"1 of the 3 shops .* 2\.0 cores, 128 MiB of memory"):
        begin(pool)
    assert Host.objects.get(name="local").state == HostState.OPEN


def test_a_shop_that_cannot_leave_is_shown_and_keeps_no_other_back(pool: Pool) -> None:
    stuck, other = shops_on_local(pool, 2)
    drain = begin(pool)
    for name in ("second", "third"):
        starts = pool.drivers[name].ensure_running

        def start(spec: object, *, fence: object, starts: object = starts) -> object:
            if getattr(spec, "instance_id", "") == stuck.public_id:
                raise UnhealthyError("it does not answer")
            return starts(spec, fence=fence)  # type: ignore[operator]

        pool.drivers[name].ensure_running = start  # type: ignore[assignment,method-assign]
    driver.carry_out(pool.clients)
    work(pool)
    driver.carry_out(pool.clients)
    found = drain_progress.progress(drain, timezone.now())
    assert (found.moved, found.left) == (1, 1)
    assert [one.slug for one in found.troubles] == [stuck.tenant.slug]
    assert "it does not answer" in found.troubles[0].message
    assert pool.place(other) != "local"
    assert pool.running(stuck) == ["local"]
    assert Operation.objects.filter(verb="move", state="pending").count() == 0
    Operation.objects.filter(state="failed").update(finished_at=Now() - timedelta(seconds=61))
    driver.carry_out(pool.clients)
    assert Operation.objects.filter(verb="move", state="pending").count() == 1


def test_calling_it_off_opens_the_host_and_undoes_what_has_not_come_to_the_stop(pool: Pool) -> None:
    made = shops_on_local(pool, 3)
    drain = begin(pool)
    driver.carry_out(pool.clients)
    drains.cancel(drain)
    work(pool)
    assert Host.objects.get(name="local").state == HostState.OPEN
    for one in made:
        pool.check_one(one)
        assert pool.place(one) == "local"
    assert set(Operation.objects.filter(verb="move").values_list("state", flat=True)) == {
        OperationState.CANCELLED
    }
    driver.carry_out(pool.clients)
    assert not Operation.objects.filter(verb="move", state="pending").exists()
    with pytest.raises(StateConflictError, match="this drain has ended"):
        drains.cancel(drain)
    begin(pool)


def test_a_host_that_was_closed_before_is_closed_when_it_is_called_off(pool: Pool) -> None:
    local = Host.objects.get(name="local")
    hosts.cordon(local, by="op@example.com")
    drains.cancel(begin(pool))
    local.refresh_from_db()
    assert local.state == HostState.CORDONED
    hosts.uncordon(local, by="op@example.com")
    drains.cancel(begin(pool))
    local.refresh_from_db()
    assert local.state == HostState.OPEN


def test_a_host_is_emptied_once_at_a_time(pool: Pool) -> None:
    begin(pool)
    with pytest.raises(StateConflictError, match="draining"):
        begin(pool)


def test_two_drains_at_once_leave_each_shop_on_a_host_that_stays(pool: Pool) -> None:
    made = shops_on_local(pool, 3)
    moved = pool.ask(made[0], "second")
    assert pool.world.run(moved) == "done"
    begin(pool)
    drains.request(Host.objects.get(name="second"))
    for _ in range(4):
        driver.carry_out(pool.clients)
        work(pool)
    for one in made:
        pool.check_one(one)
        assert pool.place(one) == "third"


def test_a_shop_that_is_removed_meanwhile_counts_as_gone(pool: Pool) -> None:
    (one,) = shops_on_local(pool, 1)
    drain = begin(pool)
    driver.carry_out(pool.clients)
    removals.request(one.tenant)
    work(pool)
    report(pool)
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.DONE
    assert Move.objects.filter(ended_at=None).count() == 0


def test_what_a_silent_source_still_held_is_cleared_when_it_is_back(pool: Pool) -> None:
    (one,) = shops_on_local(pool, 1)
    drain = begin(pool)
    driver.carry_out(pool.clients)
    for _ in range(9):
        pool.drivers["local"].fail_next("ensure_absent", HostUnreachableError("gone"))
    pool.settle(Operation.objects.get(verb="move"))
    report(pool)
    driver.carry_out(pool.clients)
    drain.refresh_from_db()
    assert drain.state == DrainState.RUNNING
    pool.drivers["local"]._failures.clear()
    driver.carry_out(pool.clients)
    pool.check_one(one)
    assert pool.volumes("local") == set()


def test_frozen_placements_open_no_move(pool: Pool) -> None:
    shops_on_local(pool, 1)
    begin(pool)
    FreezeSwitch.objects.create(name=FreezeSwitch.Name.PLACEMENTS, is_on=True)
    driver.carry_out(pool.clients)
    assert not Operation.objects.filter(verb="move").exists()


def test_a_round_costs_the_same_however_many_shops_wait(pool: Pool, settings: Settings) -> None:
    settings.STOA_MOVES_PER_HOST = 1
    shops_on_local(pool, 3)
    begin(pool)
    driver.carry_out(pool.clients)
    with CaptureQueriesContext(connection) as few:
        driver.carry_out(pool.clients)
    template = Placement.objects.filter(until=None).order_by("pk")[0]
    for number in range(20):
        made = pool.world.sign_up(f"more-{number}").instance
        Placement.objects.create(
            instance=made,
            host=template.host,
            port=20_000 + number,
            cpu_millis=1,
            memory_bytes=1,
            disk_bytes=1,
        )
    with CaptureQueriesContext(connection) as many:
        driver.carry_out(pool.clients)
    assert len(many) == len(few)


def test_progress_tells_the_pace(pool: Pool) -> None:
    made = shops_on_local(pool, 2)
    drain = begin(pool)
    driver.carry_out(pool.clients)
    pool.world.run(Operation.objects.filter(verb="move").order_by("pk")[0])
    found = drain_progress.progress(drain, drain.started_at + timedelta(seconds=10))
    assert (found.total, found.moved, found.left, found.percent) == (2, 1, 1, 50.0)
    assert found.eta_seconds == pytest.approx(10, abs=0.1)
    assert [one.tenant.slug for one in found.under_way] == [made[1].tenant.slug]
    assert found.longest_held_ms is not None


def test_an_epoch_later_a_lost_target_counts_as_cleared(pool: Pool) -> None:
    (one,) = shops_on_local(pool, 1)
    operation = pool.ask(one, "second")
    pool.drivers["second"].fail_next("ensure_running", HostUnreachableError("gone"))
    for _ in range(3):
        pool.drivers["second"].fail_next("ensure_absent", HostUnreachableError("gone"))
    Host.objects.filter(name="second").update(epoch=1)
    assert pool.world.run(operation) == "waits"  # the target may run it: never two of one
    assert pool.running(one) == []
    assert Move.objects.get().ended_at is None
    Host.objects.filter(name="second").update(epoch=2)
    assert pool.settle(operation) == "failed"
    pool.check_one(one)
    assert moves.open_move(one) is None


def test_a_drain_asks_whoever_places(pool: Pool) -> None:
    """Room by amounts is not enough: the moves would be refused one by one, for hours."""
    shops_on_local(pool, 2)
    local, second = Host.objects.get(name="local"), Host.objects.get(name="second")
    Host.objects.exclude(pk__in=[local.pk, second.pk]).update(state=HostState.CORDONED)
    assert fitting.look(local) == Fit(2, 2, Amounts(0, 0, 0))
    HostReport.objects.filter(host=second).update(
        conditions=[{"kind": "disk_full", "message": "its disk is full"}]
    )
    found = fitting.look(local)
    assert (found.count, found.fitting) == (2, 0)
    rows = Placement.objects.filter(host=local, until=None).values_list("memory_bytes", flat=True)
    assert found.missing.memory_bytes == sum(rows)
    with pytest.raises(NoRoomError, match="0 of the 2 shops on local have room"):
        begin(pool)


def test_room_elsewhere_takes_as_many_queries_for_many_shops_as_for_one(pool: Pool) -> None:
    local = Host.objects.get(name="local")
    counts = []
    for number in (1, 3):
        shops_on_local(pool, 1) if number == 1 else [pool.shop(f"more-{n}") for n in range(2)]
        fitting.look(local)
        with CaptureQueriesContext(connection) as queries:
            fitting.look(local)
        counts.append(len(queries))
    assert counts[0] == counts[1] == 2
