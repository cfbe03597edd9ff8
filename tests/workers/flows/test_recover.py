"""A lost host's shops come back elsewhere from their last copy, once, and never empty."""

import pytest
from django.db.models.functions import Now

from runtime.errors import HostUnreachableError
from tenants.activity.models import InstanceEvent
from tenants.core import freezes
from tenants.core.models import FreezeSwitch
from tenants.operations import operations
from tenants.operations.models import Operation, Step
from tenants.placement.models import Decision, Placement
from tenants.pool import health
from tenants.pool.models import Host
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.states import EventKind, HostHealth, InstanceState, TenantState, Verb
from tests.workers.flows.pool import Pool
from workers.flows.steps import volumes

pytestmark = pytest.mark.django_db


def copy(pool: Pool, instance: Instance) -> None:
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    volumes.take(None, instance.tenant, placement, pool.clients, reason="asked")


def lose(name: str) -> Host:
    """The host is declared lost, as after fifteen seconds of silence."""
    host = Host.objects.get(name=name)
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    host.report.delete()
    return Host.objects.get(pk=host.pk)


def begin() -> Operation:
    (placement,) = health.waiting_for_a_place(10)
    operation = health.begin_recovery(placement)
    assert operation is not None
    return operation


def test_a_shop_comes_back_elsewhere_with_what_its_last_copy_held(pool: Pool) -> None:
    instance = pool.shop()
    copy(pool, instance)
    pool.order(instance, b"too-late")
    lost = lose("local")
    assert lost.epoch == 2

    operation = begin()
    assert pool.settle(operation) == "succeeded"

    place = pool.place(instance)
    assert place != "local"
    assert pool.orders(place, instance) == {"first"}
    assert pool.route(instance).startswith("acme@")
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING
    assert Host.objects.get(name="local").booked_memory_bytes == 0
    assert Decision.objects.filter(instance=instance, host_name=place).exists()
    told = InstanceEvent.objects.get(instance=instance, kind=EventKind.RECOVERED).details
    assert told["lost_host"] == "local"
    assert told["host"] == place
    assert told["taken_at"]
    assert "UTC" in Step.objects.get(operation=operation, name="load").detail
    assert health.waiting_for_a_place(10) == []


def test_a_shop_without_a_copy_waits_for_its_host_and_never_comes_back_empty(pool: Pool) -> None:
    instance = pool.shop()
    lose("local")
    operation = begin()
    assert pool.settle(operation) == "failed"
    operation.refresh_from_db()
    assert operation.error_code == "no_copy"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert pool.place(instance) == "local"
    assert pool.drivers["second"].volumes == set()
    assert health.waiting_for_a_place(10) == []  # not again at once
    assert list(health.stranded()) == ["health.waiting.local"]

    health.move(Host.objects.get(name="local").pk, HostHealth.LOST, HostHealth.ALIVE, reason="back")
    assert health.repair_waiting(Host.objects.get(name="local").pk) == 1
    repair = Operation.objects.get(verb=Verb.REPAIR)
    assert pool.settle(repair) == "succeeded"
    assert pool.orders("local", instance) == {"first"}


def test_a_worker_that_dies_after_the_load_does_not_load_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = pool.shop()
    copy(pool, instance)
    lose("local")
    operation = begin()
    pool.world.edges.deaf = {"local"}  # nobody takes the route: the first try ends after the start
    pool.world.run(operation)
    place = pool.place(instance)
    assert place != "local"
    assert pool.running(instance) == ["local", place]  # the lost one is not told, it cannot hear
    pool.contents(place, instance)["new"] = b"new"
    pool.world.edges.deaf = set()
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(place, instance) == {"first", "new"}
    assert pool.place(instance) == place


def test_a_second_host_that_is_lost_meanwhile_is_left_as_well(pool: Pool) -> None:
    instance = pool.shop()
    copy(pool, instance)
    lose("local")
    operation = begin()
    pool.world.edges.deaf = {"local"}
    pool.world.run(operation)
    second = pool.place(instance)
    lose(second)
    pool.world.edges.deaf = set()
    assert pool.settle(operation) == "succeeded"
    third = pool.place(instance)
    assert third not in {"local", second}
    assert pool.orders(third, instance) == {"first"}


def test_a_host_that_comes_back_first_keeps_its_shop_and_all_its_data(pool: Pool) -> None:
    instance = pool.shop()
    copy(pool, instance)
    pool.order(instance, b"late")
    host = lose("local")
    operation = begin()
    health.move(host.pk, HostHealth.LOST, HostHealth.ALIVE, reason="back")
    assert pool.settle(operation) == "succeeded"
    assert pool.place(instance) == "local"
    assert pool.orders("local", instance) == {"first", "late"}


def test_replacing_that_is_frozen_opens_nothing_and_stops_what_is_open(pool: Pool) -> None:
    instance = pool.shop()
    copy(pool, instance)
    lose("local")
    operation = begin()
    freezes.set_switch(
        FreezeSwitch.Name.REPLACING, is_on=True, reason="look first", changed_by="me"
    )
    pool.world.run(operation)
    assert pool.place(instance) == "local"
    freezes.set_switch(FreezeSwitch.Name.REPLACING, is_on=False, reason="", changed_by="me")
    assert pool.settle(operation) == "succeeded"
    assert pool.place(instance) != "local"


def test_a_repair_gives_way_and_a_removal_does_not(pool: Pool) -> None:
    instance = pool.shop()
    copy(pool, instance)
    operations.open_operation(instance, Verb.REPAIR)
    lose("local")
    assert begin().verb == Verb.RECOVER
    removal = removals.request(instance.tenant)
    assert health.waiting_for_a_place(10) == []
    assert pool.settle(removal) == "succeeded"  # without a word from the lost host
    instance.tenant.refresh_from_db()
    assert instance.tenant.state == TenantState.REMOVED
    assert health.removed_from(Host.objects.get(name="local")) == [instance.public_id]


def test_a_sign_up_that_was_on_its_way_to_a_lost_host_goes_elsewhere(pool: Pool) -> None:
    operation = pool.world.sign_up("fresh")
    for driver in pool.drivers.values():
        driver.fail_next("ensure_running", HostUnreachableError("silent"))
    pool.world.run(operation)
    instance = Instance.objects.get(tenant__slug="fresh")
    first = pool.place(instance)
    lose(first)
    assert health.waiting_for_a_place(10) == []
    assert pool.settle(operation) == "succeeded"
    assert pool.place(instance) != first


def test_how_many_shops_wait_costs_one_query(pool: Pool, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    for number in range(4):
        copy(pool, pool.shop(f"shop{number}"))
    for name in {pool.place(one) for one in Instance.objects.all()}:
        lose(name)
    with django_assert_num_queries(1):
        assert len(health.waiting_for_a_place(3)) == 3
    Operation.objects.update(run_after=Now())
