"""A removal leaves nothing: no container, no volume, no route, no booking; and waits for who is away."""

from datetime import timedelta

from django.db.models.functions import Now

from runtime.errors import HostUnreachableError
from tenants.operations.models import Operation
from tenants.placement import placements
from tenants.placement.models import Placement, PortQuarantine, Route
from tenants.pool.models import Edge, Host
from tenants.shops import removals
from tenants.shops.models import Instance, Tenant
from tenants.states import InstanceState, OperationState, TenantState
from tests.workers.conftest import World, make_edge


def test_a_removed_shop_leaves_nothing(world: World) -> None:
    tenant = world.live_tenant()
    removal = removals.request(tenant)
    assert world.run(removal) == "done"
    assert world.driver.list() == ()
    assert world.driver.volumes == set()
    assert world.edges.routes == {"acme.localhost": ""}
    assert Route.objects.get().value == ""
    tenant.refresh_from_db()
    assert tenant.state == TenantState.REMOVED
    assert Instance.objects.get().state == InstanceState.RETIRED
    host = Host.objects.get()
    assert (host.booked_cpu_millis, host.booked_memory_bytes) == (0, 0)
    assert bytes(tenant.first_login.ciphertext) == b""


def test_the_name_is_free_again_afterwards(world: World) -> None:
    world.run(removals.request(world.live_tenant()))
    assert world.live_tenant("acme").state == TenantState.LIVE
    assert world.edges.routes["acme.localhost"].startswith("acme@")


def test_a_port_waits_for_edges_that_have_not_let_go(world: World) -> None:
    away = make_edge("away")
    tenant = world.live_tenant()
    world.edges.deaf.add("away")
    Edge.objects.filter(pk=away.pk).update(is_synced=False)
    world.run(removals.request(tenant))
    assert PortQuarantine.objects.get().waiting_for == ["away"]
    Edge.objects.filter(pk=away.pk).update(seen_at=Now(), is_synced=True, applied_sequence=10**9)
    placements.forget_caught_up_edges()
    assert PortQuarantine.objects.get().waiting_for == []


def test_a_port_keeps_waiting_for_an_edge_that_is_behind(world: World) -> None:
    away = make_edge("away")
    tenant = world.live_tenant()
    world.edges.deaf.add("away")
    Edge.objects.filter(pk=away.pk).update(is_synced=False)
    world.run(removals.request(tenant))
    behind = Route.objects.get().sequence - 1
    Edge.objects.filter(pk=away.pk).update(is_synced=True, applied_sequence=behind)
    placements.forget_caught_up_edges()
    assert PortQuarantine.objects.get().waiting_for == ["away"]


def test_a_port_does_not_wait_for_an_edge_that_was_taken_out(world: World) -> None:
    away = make_edge("away")
    tenant = world.live_tenant()
    world.edges.deaf.add("away")
    Edge.objects.filter(pk=away.pk).update(is_synced=False)
    world.run(removals.request(tenant))
    away.delete()
    placements.forget_caught_up_edges()
    assert PortQuarantine.objects.get().waiting_for == []


def test_a_host_that_is_away_is_waited_for_until_the_deadline(world: World) -> None:
    removal = removals.request(world.live_tenant())
    world.driver.fail_next("ensure_absent", HostUnreachableError("host.local has not reported"))
    assert world.run(removal) == "again later"
    assert world.edges.routes == {"acme.localhost": ""}
    Operation.objects.filter(pk=removal.pk).update(deadline_at=Now() - timedelta(seconds=1))
    assert world.run(removal) == "failed"
    assert removal.error_message == "host.local has not reported"
    assert Placement.objects.filter(until=None).exists()
    again = removals.request(Tenant.objects.get())
    assert again.pk == removal.pk
    assert world.run(again) == "done"
    assert world.driver.list() == ()


def test_a_shop_that_never_got_a_place_is_removed_too(world: World) -> None:
    world.sign_up()
    removal = removals.request(Tenant.objects.get())
    assert world.run(removal) == "done"
    assert Tenant.objects.get().state == TenantState.REMOVED
    assert Operation.objects.get(verb="provision").state == OperationState.CANCELLED
