"""A record that was restored does nothing that an older record must not do, until an operator thaws it."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from runtime.edge.probe import ProbeTarget
from tenants.core.models import Alarm, FreezeSwitch
from tenants.operations.models import Operation
from tenants.placement.models import Route
from tenants.pool import restored_record
from tenants.pool.models import Host, HostReport
from tenants.shops import repeats
from tenants.shops.models import Instance, Tenant
from tenants.states import OperationState, TenantState
from tests.workers.conftest import World
from tests.workers.flows.pool import Shelf, make_pool
from workers.leases.periodic import database_now
from workers.pool import mapping
from workers.reconcilers import drains, host_health, images, instances, snapshots, sweep
from workers.rpc.edge_types import EdgeSeat

pytestmark = pytest.mark.django_db


class Keeping:
    """Whoever adopts hosts: remembers what each was to keep and to delete."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, list[str], list[str]]] = []

    def probe(
        self, edges: Collection[EdgeSeat], places: Sequence[ProbeTarget]
    ) -> dict[str, set[str]]:
        return {}

    def adopt(
        self, host: str, epoch: int, *, keep: Sequence[str], delete: Sequence[str]
    ) -> tuple[str, ...]:
        self.told.append((host, epoch, list(keep), list(delete)))
        return ()


@pytest.fixture
def shop(world: World) -> Tenant:
    operation = world.sign_up()
    assert world.run(operation) == "done"
    return Tenant.objects.get(pk=operation.tenant_id)


def strangers(host: Host, *ids: str) -> None:
    """The host reports instances the record knows nothing of, at an older epoch."""
    inventory = [
        {"instance_id": one, "state": "running", "fence": {"epoch": 1, "number": 5}} for one in ids
    ]
    HostReport.objects.update_or_create(
        host=host,
        defaults={
            "inventory": inventory,
            "epoch": 1,
            "boot_id": "b",
            "digest": "d",
            "seen_at": database_now(),
            "sequence": 1,
        },
    )


def test_every_number_is_above_all_that_was_given_out(world: World, shop: Tenant) -> None:
    host, route = Host.objects.get(), Route.objects.get()
    restored_record.settle(made_at="yesterday")
    assert Host.objects.get().epoch == host.epoch + restored_record.EPOCHS
    assert Tenant.objects.get().fence == shop.fence + restored_record.FENCES
    assert Route.objects.get().sequence > route.sequence + restored_record.SEQUENCES - 1
    assert Route.objects.get().value == route.value


def test_what_was_under_way_is_ended_and_can_be_asked_for_again(world: World, shop: Tenant) -> None:
    opened = world.sign_up("other")
    restored_record.settle(made_at="yesterday")
    row = Operation.objects.get(pk=opened.pk)
    assert (row.state, row.error_code) == (OperationState.FAILED, "restored")
    assert Tenant.objects.get(pk=opened.tenant_id).state == TenantState.FAILED
    assert Tenant.objects.get(pk=shop.pk).state == TenantState.LIVE


def test_nothing_is_stopped_deleted_or_copied_before_the_thaw(world: World, shop: Tenant) -> None:
    restored_record.settle(made_at="yesterday")
    assert set(FreezeSwitch.objects.filter(is_on=True).values_list("name", flat=True)) == {
        *FreezeSwitch.Name.values
    }
    strangers(world.host, "ins_new1", "ins_new2")
    reach = Keeping()
    assert host_health.adopt_hosts(reach) == "1 hosts adopted"
    assert reach.told == [("local", Host.objects.get().epoch, ["ins_new1", "ins_new2"], [])]
    assert instances.carry_out(lambda _: world.driver) == "frozen by an operator"
    frozen = "frozen after a restore"
    assert drains.carry_out(world.clients) == frozen
    assert images.carry_out(lambda _: world.driver) == frozen
    assert snapshots.hand_out() == frozen
    assert snapshots.tidy() == frozen


def test_what_hosts_run_beside_the_record_is_named(world: World, shop: Tenant) -> None:
    restored_record.settle(made_at="yesterday")
    known = shop.instances.get().public_id
    strangers(world.host, known, "ins_new1")
    assert restored_record.unknown() == {"local": ["ins_new1"]}


def test_ports_of_newer_shops_are_given_to_nobody_and_none_is_lost(
    world: World, shop: Tenant
) -> None:
    restored_record.settle(made_at="yesterday")
    world.host.refresh_from_db()
    first = world.host.next_port
    strangers(world.host, "ins_new1", "ins_new2")
    report = HostReport.objects.get(host=world.host)
    for entry, port in zip(report.inventory, (first, first + 2), strict=True):
        entry["published_port"] = port
    report.inventory.append("no instance")
    report.save()
    restored_record.thaw(by="alice")
    world.host.refresh_from_db()
    assert world.host.next_port == first + 3
    assert [one.port for one in world.host.quarantined_ports.all()] == [first + 1]


def test_after_the_thaw_newer_shops_run_on_and_are_named(world: World, shop: Tenant) -> None:
    known = shop.instances.get().public_id
    restored_record.settle(made_at="yesterday")
    restored_record.thaw(by="alice")
    strangers(world.host, known, "ins_new1", "ins_new2")
    instances.carry_out(lambda _: world.driver)
    alarm = Alarm.objects.get(key="reconcile.local.newer", cleared_at=None)
    assert "ins_new1, ins_new2" in alarm.message
    assert "2 instances" in alarm.message


def test_the_alarm_stays_until_the_thaw_and_says_how(world: World, shop: Tenant) -> None:
    restored_record.settle(made_at="yesterday")
    sweep.tidy()
    alarm = Alarm.objects.get(key="restored.record")
    assert alarm.cleared_at is None
    assert "stoa control thaw" in alarm.message
    assert restored_record.thaw(by="alice") == len(FreezeSwitch.Name.values)
    assert not restored_record.is_frozen()
    sweep.tidy()
    assert Alarm.objects.get(key="restored.record").cleared_at is not None
    assert restored_record.thaw(by="alice") == 0


def test_a_switch_that_an_operator_has_set_is_not_thawed_with_the_others(
    world: World, shop: Tenant
) -> None:
    restored_record.settle(made_at="yesterday")
    FreezeSwitch.objects.filter(name="rollouts").update(changed_by="alice")
    restored_record.thaw(by="bob")
    assert FreezeSwitch.objects.get(name="rollouts").is_on


class KilledError(BaseException):
    """The backup was made here: what follows is not in the record."""


def test_a_sign_up_tried_again_starts_with_its_data_on_the_host_that_has_it(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pool = make_pool(world, Shelf(tmp_path))
    opened = world.sign_up("other")

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(world.edges, "apply", killed)
        with pytest.raises(KilledError):
            world.run(opened)
    instance = Instance.objects.select_related("tenant").get()
    place = pool.place(instance)
    pool.order(instance, b"since")  # the shop opened after the backup
    restored_record.settle(made_at="yesterday")
    restored_record.thaw(by="alice")
    for host in Host.objects.all():
        strangers(host, *(one.instance_id for one in pool.drivers[host.name].list()))
        HostReport.objects.filter(host=host).update(epoch=host.epoch)
    # The scheduler alone would choose another.
    Host.objects.filter(name=place).update(state="cordoned")
    pool.drivers[place].end(instance.public_id, exit_code=1)
    operation = Operation.objects.get(pk=opened.pk)
    repeats.retry(operation)
    assert pool.settle(operation) == "succeeded"
    assert pool.place(instance) == place
    assert pool.orders(place, instance) == {"since"}
    pool.check_one(instance)
    assert {name for name in pool.drivers if pool.volumes(name)} == {place}


def test_a_sign_up_that_may_have_ended_since_is_never_begun_empty_nor_cleared(world: World) -> None:
    opened = world.sign_up("other")
    restored_record.settle(made_at="yesterday")
    restored_record.thaw(by="alice")
    strangers(world.host)
    HostReport.objects.update(epoch=Host.objects.get().epoch)
    operation = Operation.objects.get(pk=opened.pk)
    repeats.retry(operation)
    assert world.run(operation) == "failed"
    operation.refresh_from_db()
    assert operation.error_code == "data_missing"
    assert world.driver.list() == ()
    # Tried once more it is no less careful.
    repeats.retry(operation)
    again = Operation.objects.select_related("tenant").get(pk=opened.pk)
    assert mapping.may_have_data(again)
    assert not mapping.may_have_new_volume(again)
