"""A container that the record does not know holds a port: a shop starts at another one, whoever starts it."""

import logging
from collections.abc import Iterable

import pytest
from django.db.models.functions import Now

from runtime.errors import SpecInvalidError
from runtime.specs import Fence, InstanceSpec
from runtime.units import Limits
from runtime.wire import to_wire
from tenants.core.models import Alarm
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import PortQuarantine
from tenants.pool.models import Host, HostReport
from tenants.shops.models import Instance
from tenants.states import Verb
from tenants.transfers.models import Move
from tests.support.fake_driver import FakeDriver
from tests.workers.conftest import DIGEST, MIB, World, make_host
from tests.workers.flows.losses import copied, lose_host
from tests.workers.flows.pool import Pool
from workers.flows.steps import ports
from workers.reconcilers import instances

pytestmark = pytest.mark.django_db


def hold(driver: FakeDriver, wanted: Iterable[int]) -> None:
    """Containers of a record that is not ours, one at each port."""
    for port in wanted:
        driver.ensure_running(
            InstanceSpec(
                instance_id=f"ins_strange{port}",
                tenant="strange",
                image_digest=DIGEST,
                published_port=port,
                ceilings=Limits(100, MIB * 32, 10, MIB),
            ),
            fence=Fence(1, 1),
        )


def fresh(host: str = "local") -> int:
    return int(Host.objects.get(name=host).next_port)


def port_of(instance: Instance) -> int:
    return int(instance.placements.get(until=None).port)


def test_a_sign_up_takes_another_port_and_names_who_has_this_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first = fresh()
    hold(world.driver, range(first, first + 3))
    with caplog.at_level(logging.WARNING):
        operation = world.sign_up()
        assert world.run(operation) == "done"
    assert operation.attempts == 1
    instance = Instance.objects.get()
    assert port_of(instance) == first + 3
    assert world.edges.routes["acme.localhost"] == f"acme@100.96.0.1:{first + 3}"
    for port in range(first, first + 3):
        assert f"host local: published_port {port} belongs to ins_strange{port}" in caplog.text
    # Whoever holds them may be gone one day: they rest, and none is lost.
    assert set(PortQuarantine.objects.values_list("port", flat=True)) == set(
        range(first, first + 3)
    )
    assert fresh() == first + 4


def test_all_that_the_host_has_told_of_are_passed_over_at_once(world: World) -> None:
    first = fresh()
    hold(world.driver, range(first, first + 50))
    report = HostReport.objects.get(host=world.host)
    report.inventory = [*to_wire(world.driver.list()), "nonsense", {"published_port": "x"}]  # type: ignore[misc]
    report.save()
    operation = world.sign_up()
    asked = len(world.driver.calls)
    assert world.run(operation) == "done"
    tries = [call for call, _ in world.driver.calls[asked:] if call == "ensure_running"]
    assert len(tries) == 2
    assert port_of(Instance.objects.get()) == first + 50


def test_a_host_without_another_port_is_left_for_another_host(world: World) -> None:
    port = fresh()
    Host.objects.update(last_port=port)
    hold(world.driver, [port])
    other = make_host("other", memory_mib=2000)  # the worse fit
    Host.objects.filter(pk=other.pk).update(address="100.96.0.2")
    drivers = {"local": world.driver, "other": FakeDriver()}
    object.__setattr__(world.clients, "driver_for", lambda host: drivers[host.name])
    operation = world.sign_up()
    assert world.run(operation) == "again later"
    assert operation.error_code == "ports_taken"
    assert f"ins_strange{port}" in operation.error_message
    assert world.run(operation) == "done"
    instance = Instance.objects.get()
    assert instance.placements.get(until=None).host.name == "other"
    assert Host.objects.get(name="local").placed == 0


def test_tries_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "MOST_PORTS", 3)
    hold(world.driver, range(fresh(), fresh() + 10))
    operation = world.sign_up()
    asked = len(world.driver.calls)
    assert world.run(operation) == "again later"
    tries = [call for call, _ in world.driver.calls[asked:] if call == "ensure_running"]
    assert len(tries) == 3
    assert [world.run(operation) for _ in range(2)] == ["again later", "done"]


def test_what_else_is_wrong_with_a_spec_is_no_matter_of_ports(world: World) -> None:
    error = SpecInvalidError("container_port 0 must be 1 to 65535", field="container_port")
    world.driver.fail_next("ensure_running", error)
    assert world.run(world.sign_up()) == "failed"
    assert not PortQuarantine.objects.exclude(hostname="acme.localhost").exists()


def test_a_repair_takes_another_port_and_edges_follow(pool: Pool) -> None:
    instance = pool.shop()
    place, old = pool.place(instance), port_of(instance)
    driver = pool.drivers[place]
    del driver._held[instance.public_id]
    hold(driver, [old])
    repair = operations.open_operation(instance, Verb.REPAIR)
    assert pool.settle(repair) == "succeeded"
    assert port_of(instance) != old
    assert pool.orders(place, instance) == {"first"}
    pool.check_one(instance)
    # Edges may lead there still: nobody is given it before they have said otherwise.
    assert PortQuarantine.objects.get(port=old).waiting_for == ["local"]


def test_a_recovery_elsewhere_takes_another_port(pool: Pool) -> None:
    instance = copied(pool)
    for name in ("second", "third"):
        hold(pool.drivers[name], [fresh(name)])
    assert pool.settle(lose_host()) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}
    pool.drivers["local"].end(instance.public_id, exit_code=137)
    pool.check_one(instance)


def test_a_move_takes_another_port_within_its_hold(pool: Pool) -> None:
    instance = pool.shop()
    first = fresh("second")
    hold(pool.drivers["second"], [first])
    assert pool.world.run(pool.ask(instance)) == "done"
    assert (pool.place(instance), port_of(instance)) == ("second", first + 1)
    assert pool.orders("second", instance) == {"first"}
    pool.check_one(instance)
    assert Move.objects.get().end == "done"
    assert PortQuarantine.objects.filter(host__name="second", port=first).exists()


def test_who_took_the_operation_over_has_the_port_that_it_chose(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(world.driver, [fresh()])
    operation = world.sign_up()
    start = world.driver.ensure_running

    def overtaken(spec: InstanceSpec, *, fence: Fence) -> object:
        Operation.objects.filter(pk=operation.pk).update(fence=fence.number + 1)
        return start(spec, fence=fence)

    monkeypatch.setattr(world.driver, "ensure_running", overtaken)
    before = port_of_open(operation)
    assert world.run(operation) == "taken over"
    assert before is None
    assert not PortQuarantine.objects.exists()


def port_of_open(operation: Operation) -> int | None:
    return operation.instance.placements.filter(until=None).values_list("port", flat=True).first()


def test_a_stranger_that_cannot_be_stopped_is_an_alarm(world: World) -> None:
    hold(world.driver, [fresh()])
    HostReport.objects.update(seen_at=Now(), inventory=to_wire(world.driver.list()))
    world.driver.fail_next("ensure_absent", SpecInvalidError("no such thing"))
    assert instances.carry_out(world.clients.driver_for) == ""
    alarm = Alarm.objects.get(key="reconcile.local.left", cleared_at=None)
    assert (
        "1 instances are not in the database and could not be stopped: ins_strange" in alarm.message
    )
    assert instances.carry_out(world.clients.driver_for) == "0 repairs opened, 1 stopped"
    assert not Alarm.objects.filter(key="reconcile.local.left", cleared_at=None).exists()
