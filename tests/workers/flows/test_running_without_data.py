"""A shop that runs on while its volume is gone is told by whoever meets it: a move, a restore or a copy."""

from collections.abc import Callable

import pytest

from runtime.errors import HostUnreachableError
from tenants.activity.models import InstanceEvent
from tenants.core.models import Alarm
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot
from tenants.states import DataChoice, EventKind, InstanceState, SnapshotReason
from tenants.transfers import missing_data, restores
from tenants.transfers.models import Move
from tests.workers.flows.losses import (
    bring_back,
    choose,
    copied,
    host_returns,
    lose_host,
    volume_of,
)
from tests.workers.flows.pool import Pool
from workers.flows.steps import volumes
from workers.reconcilers import missing_data as rounds
from workers.reconcilers import snapshots as copying

pytestmark = pytest.mark.django_db


def take_away(pool: Pool, instance: Instance) -> dict[str, bytes]:
    """Somebody moves the directory away while the container runs; what was in it."""
    pool.drivers["local"].volumes.discard(volume_of(instance))
    return dict(pool.drivers["local"].contents.pop(volume_of(instance)))


def by_a_move(pool: Pool, instance: Instance) -> None:
    operation = pool.ask(instance)
    assert pool.settle(operation) == "failed"
    assert operation.error_code == "data_missing"
    assert not Move.objects.filter(ended_at=None).exists()


def by_a_restore(pool: Pool, instance: Instance) -> None:
    tenant = Tenant.objects.get(pk=instance.tenant_id)
    operation = restores.request(tenant, Snapshot.objects.earliest("started_at"))
    assert pool.settle(operation) == "failed"
    assert operation.error_code == "data_missing"


def by_a_copy(pool: Pool, instance: Instance) -> None:
    assert copying.take(instance.tenant_id, pool.clients) == "failed"


@pytest.mark.parametrize("found", [by_a_move, by_a_restore, by_a_copy])
def test_whoever_meets_it_tells_it_and_it_is_chosen_for(
    pool: Pool, found: Callable[[Pool, Instance], None]
) -> None:
    instance = copied(pool)
    take_away(pool, instance)
    found(pool, instance)
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert pool.running(instance) == ["local"]
    assert InstanceEvent.objects.filter(kind=EventKind.DATA_MISSING).count() == 1
    rounds.carry_out(pool.clients.driver_for)
    assert Alarm.objects.filter(key="data.missing", cleared_at=None).exists()
    # Met again, it says nothing new.
    by_a_copy(pool, instance)
    assert InstanceEvent.objects.filter(kind=EventKind.DATA_MISSING).count() == 1
    # To look again does not call a shop well because its container runs on.
    assert pool.settle(choose(instance, DataChoice.WAIT)) == "failed"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert not InstanceEvent.objects.filter(kind=EventKind.DATA_BACK).exists()
    assert pool.settle(choose(instance, DataChoice.NEWEST)) == "succeeded"
    assert pool.orders("local", instance) == {"first"}
    pool.check_one(instance)


@pytest.mark.parametrize("found", [by_a_move, by_a_copy])
def test_its_data_comes_back_and_it_runs_with_that(
    pool: Pool, found: Callable[[Pool, Instance], None]
) -> None:
    instance = copied(pool)
    content = take_away(pool, instance)
    found(pool, instance)
    bring_back(pool, instance, content)
    assert rounds.carry_out(pool.clients.driver_for) == "1 shops have their data again"
    assert pool.settle(Operation.objects.latest("pk")) == "succeeded"
    assert pool.orders("local", instance) == {"first", "late"}
    # It was started again: its container may have been in a directory that is not the volume any more.
    assert "ensure_stopped" in [call for call, _ in pool.drivers["local"].calls]
    pool.check_one(instance)


@pytest.mark.parametrize("what", ["move", "restore"])
def test_a_volume_that_goes_under_the_hold_is_told_at_the_end(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    instance = copied(pool)
    tenant = Tenant.objects.get(pk=instance.tenant_id)
    operation = (
        pool.ask(instance)
        if what == "move"
        else restores.request(tenant, Snapshot.objects.earliest("started_at"))
    )
    take = volumes.take

    def taken(*args: object, **more: object) -> object:
        if not pool.running(instance):
            take_away(pool, instance)
        return take(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(volumes, "take", taken)
    assert pool.settle(operation) == "failed"
    assert operation.error_code == "data_missing"
    assert "the data is as it was" not in operation.error_message
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert pool.running(instance) == []


def test_a_copy_that_is_late_says_nothing_of_a_shop_that_is_elsewhere_or_worked_on(
    pool: Pool,
) -> None:
    instance = copied(pool)
    old = Placement.objects.select_related("host").get(instance=instance, until=None)
    opened = operations.open_operation(instance, "repair")
    missing_data.say_of_copy(old, reason="a test")
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING
    assert pool.settle(opened) == "succeeded"
    assert pool.settle(pool.ask(instance)) == "succeeded"
    missing_data.say_of_copy(old, reason="a test")
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING
    missing_data.say_of_copy(
        Placement.objects.get(instance=instance, until=None),
        reason="a test",
    )
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert snapshots.newest(instance.tenant) is not None
    assert SnapshotReason.MOVE in set(Snapshot.objects.values_list("reason", flat=True))


@pytest.mark.parametrize("choice", [one for one in DataChoice if one != DataChoice.WAIT])
@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_what_runs_on_in_another_directory_ends_before_the_choice_starts_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, choice: DataChoice, killed: bool
) -> None:
    instance = copied(pool)
    content = take_away(pool, instance)
    by_a_copy(pool, instance)
    bring_back(pool, instance, content)  # a copy of the directory: the container has the other one
    driver = pool.drivers["local"]
    old = driver.status(instance.public_id).pid
    more: dict[str, object] = {"typed": "acme"} if choice == DataChoice.EMPTY else {}
    if choice == DataChoice.COPY:
        more = {"snapshot": Snapshot.objects.earliest("started_at")}
    operation = choose(instance, choice, **more)
    if killed:
        driver.fail_next("ensure_running", HostUnreachableError("silent"))
        assert pool.world.run(operation) == "waits"
    assert pool.settle(operation) == "succeeded"
    assert driver.status(instance.public_id).pid != old
    assert pool.orders("local", instance) == {"first", "late"}
    pool.check_one(instance)
    # Once it is there, another try of the same operation lets it run.
    stops = [call for call, _ in driver.calls].count("ensure_stopped")
    assert stops == 1


def test_a_host_that_is_back_while_the_data_is_still_missing_does_not_call_it_well(
    pool: Pool,
) -> None:
    instance = copied(pool)
    take_away(pool, instance)
    by_a_copy(pool, instance)
    Snapshot.objects.update(state="gone")
    operation = lose_host()
    host_returns(pool, instance)
    assert pool.settle(operation) == "failed"
    assert operation.error_code == "data_missing"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert not InstanceEvent.objects.filter(kind=EventKind.RECOVERED).exists()
