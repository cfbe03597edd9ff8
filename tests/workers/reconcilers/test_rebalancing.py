"""The pool is looked at, moves are planned and kept, and asked for only where operators allow it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tenants.core import freezes
from tenants.core.models import FreezeSwitch
from tenants.errors import FieldError
from tenants.operations.models import Operation
from tenants.placement import resizing
from tenants.placement.models import Placement
from tenants.pool.models import Host, HostReport
from tenants.shops.models import Instance
from tenants.states import Verb
from tenants.transfers import rebalances
from tenants.transfers.models import RebalancePlan, RebalanceSetting
from tests.workers.conftest import MIB, World, make_host
from workers.pool import reader
from workers.reconcilers import rebalancing


@pytest.fixture(autouse=True)
def fresh() -> None:
    reader._kept = None


@pytest.fixture
def hot(world: World) -> Host:
    """`tight` turns out to need more memory than it has; `local` has room."""
    make_host("tight", memory_mib=300)
    for number in range(4):
        world.live_tenant(f"shop-{number}")
    Placement.objects.update(since=Now() - timedelta(hours=10), memory_bytes=90 * MIB)
    for host in Host.objects.all():
        resizing.repair(host.pk)
    tight = Host.objects.get(name="tight")
    assert tight.placed == 4
    assert tight.booked_memory_bytes > tight.capacity_memory_bytes
    return tight


def test_a_host_that_is_too_full_is_to_be_relieved_and_nothing_is_moved(hot: Host) -> None:
    assert "1 moves planned" in rebalancing.rebalance()
    plan = RebalancePlan.objects.get()
    (move,) = plan.moves
    assert (move["source"], move["target"], move["outcome"]) == ("tight", "local", "")
    assert move["tenant"].startswith("shop-")
    assert "tight is expected at 120% of its limits" in move["reason"]
    assert (plan.mode, plan.hot_hosts) == ("propose", 1)
    assert not Operation.objects.filter(verb=Verb.MOVE).exists()


def test_the_same_plan_is_kept_once(hot: Host) -> None:
    rebalancing.rebalance()
    rebalancing.rebalance()
    assert RebalancePlan.objects.count() == 1


def test_where_it_is_allowed_moves_are_asked_for(hot: Host) -> None:
    rebalances.change_setting(mode="on", budget=5, changed_by="op@example.com")
    assert "1 asked for" in rebalancing.rebalance()
    operation = Operation.objects.get(verb=Verb.MOVE)
    assert operation.arguments["to"] == "local"
    (move,) = RebalancePlan.objects.get().moves
    assert move["outcome"] == operation.public_id


def test_what_is_on_its_way_is_not_planned_again(hot: Host) -> None:
    rebalances.change_setting(mode="on", budget=5, changed_by="op@example.com")
    rebalancing.rebalance()
    rebalancing.rebalance()
    moving = Operation.objects.filter(verb=Verb.MOVE)
    planned = RebalancePlan.objects.first()
    assert planned is not None
    assert moving.filter(tenant__slug__in=[m["tenant"] for m in planned.moves]).count() <= 1


def test_a_frozen_pool_moves_nothing(hot: Host) -> None:
    rebalances.change_setting(mode="on", budget=5, changed_by="op@example.com")
    freezes.set_switch(
        FreezeSwitch.Name.REPLACING, is_on=True, reason="a try", changed_by="op@example.com"
    )
    assert "frozen" in rebalancing.rebalance()
    assert not Operation.objects.filter(verb=Verb.MOVE).exists()


def test_ten_busy_seconds_move_nothing(world: World) -> None:
    make_host("two")
    for number in range(3):
        world.live_tenant(f"shop-{number}")
    Placement.objects.update(since=Now() - timedelta(hours=10))
    HostReport.objects.filter(host__placed__gt=0).update(used_cpu_millis=100_000)
    found, hot = rebalancing.look(reader.read(), budget=20)
    assert (found.moves, hot) == ((), 0)


def test_off_is_off(hot: Host) -> None:
    rebalances.change_setting(mode="off", budget=5, changed_by="op@example.com")
    assert rebalancing.rebalance() == "off"
    assert not RebalancePlan.objects.exists()


def test_a_shop_that_was_placed_a_moment_ago_stays(hot: Host) -> None:
    Placement.objects.update(since=Now())
    assert "0 moves planned" in rebalancing.rebalance()
    assert "stays at 120% of its limits" in RebalancePlan.objects.get().note


def test_a_proposal_can_be_carried_out_by_hand_and_says_what_became_of_it(hot: Host) -> None:
    rebalancing.rebalance()
    plan = RebalancePlan.objects.get()
    Instance.objects.filter(public_id=plan.moves[0]["instance"]).update(state="retiring")
    assert rebalances.carry_out(plan) == 0
    plan.refresh_from_db()
    assert "only a shop that runs on a host can be moved" in plan.moves[0]["outcome"]


def test_two_who_carry_a_plan_out_at_once_ask_for_each_move_once_and_lose_no_outcome(
    hot: Host,
) -> None:
    rebalancing.rebalance()
    plan = RebalancePlan.objects.get()
    late = RebalancePlan.objects.get()  # read by the round just before the operator's click
    assert rebalances.carry_out(plan) == 1
    operation = Operation.objects.get(verb=Verb.MOVE)
    assert rebalances.carry_out(late) == 0
    assert [move["outcome"] for move in late.moves] == [operation.public_id]
    plan.refresh_from_db()
    assert [move["outcome"] for move in plan.moves] == [operation.public_id]
    RebalancePlan.objects.all().delete()
    assert rebalances.carry_out(late) == 0


def test_hosts_in_order_cost_one_look(world: World) -> None:
    for number in range(6):
        world.live_tenant(f"shop-{number}")
    Host.objects.update(capacity_memory_bytes=600 * MIB)
    rebalancing.look(reader.read(), budget=20)
    with CaptureQueriesContext(connection) as queries:
        rebalancing.look(reader.read(), budget=20)
    assert len(queries) == 1


@pytest.mark.parametrize(("mode", "budget"), [("sometimes", 5), ("on", 0), ("on", 201)])
def test_a_setting_that_makes_no_sense_is_refused(db: None, mode: str, budget: int) -> None:
    with pytest.raises(FieldError):
        rebalances.change_setting(mode=mode, budget=budget, changed_by="op@example.com")
    assert rebalances.setting().mode == RebalanceSetting.Mode.PROPOSE


def test_hosts_in_order_are_evened_out_where_much_more_could_be_asked_of_one(world: World) -> None:
    Host.objects.filter(pk=world.host.pk).update(capacity_cpu_millis=10_000)
    for number in range(9):
        world.live_tenant(f"shop-{number}")
    other = make_host("other")
    Host.objects.filter(pk=other.pk).update(capacity_cpu_millis=10_000)
    Placement.objects.update(since=Now() - timedelta(days=8), cpu_millis=1100)
    lone = Placement.objects.first()
    assert lone is not None
    Placement.objects.filter(pk=lone.pk).update(host=other, cpu_millis=4600)
    for host in Host.objects.all():
        resizing.repair(host.pk)
    found, hot = rebalancing.look(reader.read(), budget=20)
    assert hot == 0
    assert {(move.source, move.target) for move in found.moves} == {(world.host.pk, other.pk)}
    assert all("could be asked for" in move.reason for move in found.moves)
    assert len(found.moves) <= 4
