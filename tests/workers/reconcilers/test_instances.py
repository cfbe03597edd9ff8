"""What hosts hold is compared with the record, carefully."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from runtime.errors import ImageUnknownError
from runtime.specs import Fence, VolumeFate
from runtime.wire import to_wire
from tenants.core.models import Alarm, FreezeSwitch
from tenants.operations import attempts, leases, operations
from tenants.operations.models import Operation
from tenants.pool.models import HostReport
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.states import InstanceState, OperationState, TenantState, Verb
from tests.workers.conftest import World, make_host
from workers.reconcilers import instances
from workers.reconcilers.instances import ReconcilePlan, ReportedInstance, plan


def found(name: str, state: str = "running") -> ReportedInstance:
    return ReportedInstance(name, state, Fence(1, 1))


def report(world: World, *, seconds_from_now: float = 1) -> None:
    """The host tells what it holds, a little later than whatever the test wrote."""
    HostReport.objects.filter(host=world.host).update(
        seen_at=Now() + timedelta(seconds=seconds_from_now),
        inventory=to_wire(world.driver.list()),
    )


def round_of(world: World) -> str:
    return instances.carry_out(world.clients.driver_for)


def test_a_host_in_step_needs_nothing() -> None:
    assert plan([found("a")], owned={"a"}, expected={"a"}) == ReconcilePlan()


def test_missing_and_ended_instances_are_repaired() -> None:
    held = [found("a", "exited"), found("b", "starting")]
    assert plan(held, owned={"a", "b", "c"}, expected={"a", "b", "c"}).missing == ("a", "c")


def test_one_that_runs_and_is_said_to_have_failed_is_looked_at() -> None:
    held = [found("a"), found("b"), found("c", "exited")]
    everybody = {"a", "b", "c"}
    made = plan(held, owned=everybody, expected=everybody, failed=("b", "c"))
    assert (made.missing, made.sick, made.sick_alarm) == (("c",), ("b",), "")
    assert plan(held, owned=everybody, expected={"a"}, failed=("b",)).sick == ()


def test_a_shop_that_an_operation_left_running_as_failed_is_repaired(world: World) -> None:
    instance = Instance.objects.get(tenant=world.live_tenant())
    Instance.objects.update(state=InstanceState.FAILED, state_since=Now() - timedelta(hours=1))
    Operation.objects.update(finished_at=Now() - timedelta(hours=1))
    report(world)
    Instance.objects.filter(pk=instance.pk).update(state_since=Now() - timedelta(hours=1))
    assert round_of(world) == "1 repairs opened, 0 stopped"
    assert world.run(Operation.objects.get(verb=Verb.REPAIR)) == "done"
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING


def test_what_is_nobodys_is_stopped_up_to_a_share() -> None:
    held = [found(f"x{n}") for n in range(5)]
    assert len(plan(held, owned=set(), expected=set()).unowned) == 5
    held.append(found("x5"))
    too_many = plan(held, owned=set(), expected=set())
    assert too_many.unowned == ()
    assert "6 of 6 instances" in too_many.alarm


def test_a_large_host_may_have_more_that_is_nobodys() -> None:
    held = [found(f"x{n:03}") for n in range(200)]
    owned = {one.instance_id for one in held[10:]}
    assert len(plan(held, owned=owned, expected=set()).unowned) == 10
    assert plan(held, owned=owned - {"x199"}, expected=set()).alarm


def sick(name: str) -> ReportedInstance:
    return ReportedInstance(name, "running", Fence(1, 1), wants_start=True)


def test_what_runs_and_needs_a_start_is_told_apart_from_what_is_missing() -> None:
    held = [sick("a"), found("b"), sick("c"), sick("d"), found("e", "exited")]
    # c is being worked on or was repaired just now; d is nobody's.
    todo = plan(held, owned={"a", "b", "c", "e"}, expected={"a", "b", "e"})
    assert (todo.sick, todo.missing, todo.sick_alarm) == (("a",), ("e",), "")


def test_so_many_in_trouble_at_once_are_the_hosts_trouble() -> None:
    held = [sick(f"x{n:03}") for n in range(6)] + [found(f"y{n:03}") for n in range(14)]
    everybody = {one.instance_id for one in held}
    todo = plan(held, owned=everybody, expected=everybody)
    assert todo.sick == ()
    assert "6 of 20 instances do not answer" in todo.sick_alarm
    fewer = plan(held[1:], owned=everybody, expected=everybody - {"x000"})
    assert len(fewer.sick) == 5


def trouble(world: World, instance: Instance, *, kind: str = "not_answering") -> None:
    """The host says that the running instance needs a start."""
    entries = [
        entry
        | {
            "troubles": [{"kind": kind, "message": "it gives no answer", "wants_start": True}]
            if entry["instance_id"] == instance.public_id
            else []
        }
        for entry in to_wire(world.driver.list())  # type: ignore[union-attr]
        if isinstance(entry, dict)
    ]
    HostReport.objects.filter(host=world.host).update(
        seen_at=Now() + timedelta(seconds=1), inventory=entries
    )


def test_a_hung_shop_is_started_again_each_time_after_a_longer_pause_and_named(
    world: World,
) -> None:
    world.live_tenant()
    instance = Instance.objects.get()
    trouble(world, instance)
    assert round_of(world) == "1 repairs opened, 0 stopped"
    assert round_of(world) == ""  # it is being worked on
    alarm = Alarm.objects.get(key=f"trouble.{world.host.name}.not_answering", cleared_at=None)
    assert instance.public_id in alarm.message
    # Two repairs in a day: the next one waits two minutes after the last, not one.
    repairs = Operation.objects.filter(verb=Verb.REPAIR)
    ended = {"state": OperationState.SUCCEEDED}
    repairs.update(**ended, finished_at=Now() - timedelta(minutes=10))
    trouble(world, instance)
    assert round_of(world) == "1 repairs opened, 0 stopped"
    repairs.update(**ended, finished_at=Now() - timedelta(seconds=90))
    trouble(world, instance)
    assert round_of(world) == ""
    repairs.update(**ended, finished_at=Now() - timedelta(seconds=150))
    trouble(world, instance)
    assert round_of(world) == "1 repairs opened, 0 stopped"
    report(world)
    round_of(world)
    assert not Alarm.objects.filter(key__startswith="trouble.", cleared_at=None).exists()


def test_a_container_that_is_gone_is_repaired_by_an_operation(world: World) -> None:
    world.live_tenant()
    instance = Instance.objects.get()
    world.driver.ensure_absent(instance.public_id, fence=Fence(1, 1), volume=VolumeFate.KEEP)
    report(world)
    assert round_of(world) == "1 repairs opened, 0 stopped"
    repair = Operation.objects.get(verb=Verb.REPAIR)
    assert world.run(repair) == "done"
    assert len(world.driver.list()) == 1
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING
    assert instance.tenant.state == TenantState.LIVE


def test_a_report_older_than_the_row_is_not_acted_on(world: World) -> None:
    world.live_tenant()
    report(world, seconds_from_now=-5)
    HostReport.objects.update(inventory=[])
    assert round_of(world) == ""


def test_a_host_that_is_silent_is_left_alone(world: World) -> None:
    world.live_tenant()
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=11), inventory=[])
    Instance.objects.update(state_since=Now() - timedelta(seconds=60))
    assert round_of(world) == ""


def test_what_somebody_works_on_is_left_alone(world: World) -> None:
    world.live_tenant()
    operations.open_operation(Instance.objects.get(), Verb.REPAIR)
    HostReport.objects.update(seen_at=Now() + timedelta(seconds=1), inventory=[])
    assert round_of(world) == ""


def test_a_repair_that_failed_is_not_asked_for_again_at_once(world: World) -> None:
    world.live_tenant()
    repair = operations.open_operation(Instance.objects.get(), Verb.REPAIR)
    lease = leases.claim(repair.pk, owner="test")
    assert lease is not None
    attempts.fail(lease, code="exited", message="it ended")
    HostReport.objects.update(seen_at=Now() + timedelta(seconds=1), inventory=[])
    assert round_of(world) == ""
    Operation.objects.filter(pk=repair.pk).update(finished_at=Now() - timedelta(seconds=61))
    assert round_of(world) == "1 repairs opened, 0 stopped"


def test_what_is_nobodys_is_stopped_and_its_volume_kept(world: World) -> None:
    tenant = world.live_tenant()
    spec = world.driver._held[Instance.objects.get().public_id].spec
    removal = removals.request(tenant)
    world.run(removal)
    # As a host that was away would have it: still running, with the fence of long ago.
    world.driver._fences.clear()
    world.driver.ensure_running(replace(spec, new_volume=True), fence=Fence(1, 1))
    report(world, seconds_from_now=2)
    assert round_of(world) == "0 repairs opened, 1 stopped"
    assert world.driver.list() == ()
    assert world.driver.volumes == {spec.volume}


def test_too_much_that_is_nobodys_raises_an_alarm_and_stops_nothing(world: World) -> None:
    HostReport.objects.filter(host=world.host).update(
        inventory=[
            {
                "instance_id": f"ins_unknown{n}",
                "state": "running",
                "fence": {"epoch": 1, "number": 1},
            }
            for n in range(6)
        ]
    )
    assert round_of(world) == ""
    assert "6 of 6 instances" in Alarm.objects.get(cleared_at=None).message
    assert world.driver.calls == []
    HostReport.objects.update(inventory=[])
    round_of(world)
    assert not Alarm.objects.filter(cleared_at=None).exists()


def test_a_shop_on_another_host_is_nobodys_here(world: World) -> None:
    world.live_tenant()
    instance = Instance.objects.get()
    other = make_host("other")
    HostReport.objects.filter(host=other).update(
        seen_at=Now() + timedelta(seconds=1), inventory=to_wire(world.driver.list())
    )
    report(world)
    assert round_of(world) == "0 repairs opened, 1 stopped"
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING


def test_an_operator_can_freeze_it(world: World) -> None:
    world.live_tenant()
    HostReport.objects.update(seen_at=Now() + timedelta(seconds=1), inventory=[])
    FreezeSwitch.objects.create(name="reconcile", is_on=True)
    assert round_of(world) == "frozen by an operator"
    assert not Operation.objects.filter(verb=Verb.REPAIR).exists()


@pytest.mark.parametrize("entry", [None, "x", {}, {"instance_id": "a", "state": "running"}])
def test_an_inventory_that_makes_no_sense_is_not_acted_on(world: World, entry: object) -> None:
    HostReport.objects.filter(host=world.host).update(inventory=[entry])
    assert round_of(world) == ""


def test_a_failed_repair_leaves_the_shop_where_its_data_is(world: World) -> None:
    world.live_tenant()
    repair = operations.open_operation(Instance.objects.get(), Verb.REPAIR)
    world.driver.fail_next("ensure_running", ImageUnknownError("no such image"))
    assert world.run(repair) == "failed"
    assert repair.state == OperationState.FAILED
    instance = Instance.objects.get()
    assert instance.state == InstanceState.FAILED
    assert instance.tenant.state == TenantState.LIVE
    assert instance.placements.filter(until=None).exists()
    assert len(world.driver.volumes) == 1
