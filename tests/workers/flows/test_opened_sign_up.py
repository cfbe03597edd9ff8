"""A sign-up that visitors were led to may hold an order: from then on no path begins it empty."""

from collections.abc import Callable

import pytest

from runtime.statuses import ContainerState
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement import placements, routes
from tenants.placement.models import Placement
from tenants.pool import drain_progress, drains, health
from tenants.pool.models import Host
from tenants.shops import removals, repeats
from tenants.shops.models import Instance, Tenant
from tenants.states import DataChoice, InstanceState, TenantState, Verb
from tenants.transfers import missing_data
from tests.workers.flows.losses import host_returns, volume_of
from tests.workers.flows.pool import Pool
from tests.workers.flows.test_begin_empty import begun, cut, fall, ordered
from workers.flows.steps import routing, volumes
from workers.leases.periodic import database_now
from workers.reconcilers import missing_data as rounds

pytestmark = pytest.mark.django_db


def recovered(pool: Pool) -> Operation:
    """What control does next for shops whose host is lost."""
    (placement,) = health.waiting_for_a_place(10)
    operation = health.begin_recovery(placement)
    assert operation is not None
    pool.settle(operation)
    return operation


def silent(pool: Pool, operation: Operation) -> str:
    """No edge gets the shop's answer until the operation has ended."""
    answer, seconds = pool.clients.look, routing.CHECK_SECONDS
    object.__setattr__(pool.clients, "look", lambda *_: 503)
    routing.CHECK_SECONDS = 0.02
    try:
        return pool.settle(operation, most=40)
    finally:
        routing.CHECK_SECONDS = seconds
        object.__setattr__(pool.clients, "look", answer)


def end_lost(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """Its host is lost: there is no copy, so it waits for that host."""
    fall(place)
    assert pool.settle(operation) == "failed"
    assert operation.error_code == "host_lost"
    assert recovered(pool).error_code == "no_copy"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert missing_data.is_chosen_from(instance.tenant)
    host_returns(pool, instance, place)
    assert pool.settle(Operation.objects.latest("pk")) == "succeeded"


def end_copied(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """Its host is lost for good, and somebody had a copy made: it comes back from that."""
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    volumes.take(None, instance.tenant, placement, pool.clients, reason="asked")
    fall(place)
    assert pool.settle(operation) == "failed"
    assert recovered(pool).state == "succeeded"
    assert pool.place(instance) != place
    pool.drivers[place].end(instance.public_id, exit_code=137)


def end_chosen(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """Its host is lost, and its owner would rather begin empty: that is asked for by its name."""
    fall(place)
    pool.settle(operation)
    recovered(pool)
    chosen = missing_data.choose(
        Tenant.objects.get(pk=instance.tenant_id), DataChoice.EMPTY, typed="acme"
    )
    assert pool.settle(chosen) == "succeeded"
    assert pool.place(instance) != place
    pool.drivers[place].end(instance.public_id, exit_code=137)


def end_back(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """Its host is lost for a moment."""
    fall(place)
    host_returns(pool, instance, place)
    assert pool.settle(operation) == "succeeded"


def end_failed(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """It does not answer, and its owner tries again."""
    assert silent(pool, operation) == "failed"
    _is_closed(pool, instance, place)
    repeats.retry(operation)
    assert pool.settle(operation) == "succeeded"


def end_failed_and_lost(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """It does not answer; then its host is lost, and its owner tries again."""
    assert silent(pool, operation) == "failed"
    fall(place)
    assert health.waiting_for_a_place(10) == []
    repeats.retry(operation)
    assert pool.settle(operation) == "failed"
    assert recovered(pool).error_code == "no_copy"
    host_returns(pool, instance, place)
    assert pool.settle(Operation.objects.latest("pk")) == "succeeded"


def end_cancelled(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """Its owner calls it off: what it holds goes with a removal only."""
    operations.cancel(operation)
    assert pool.settle(operation) == "cancelled"
    _is_closed(pool, instance, place)
    assert pool.orders(place, instance) == {"between"}
    assert pool.settle(removals.request(Tenant.objects.get(pk=instance.tenant_id))) == "succeeded"
    assert pool.volumes(place) == set()
    assert {host.booked_memory_bytes for host in Host.objects.all()} == {0}


def end_gone(pool: Pool, instance: Instance, operation: Operation, place: str) -> None:
    """Somebody moves its volume away, and its container ends."""
    content = dict(pool.contents(place, instance))
    driver = pool.drivers[place]
    driver.volumes.discard(volume_of(instance))
    driver.contents.pop(volume_of(instance))
    driver.end(instance.public_id, exit_code=137)
    assert pool.settle(operation) == "failed"
    assert operation.error_code == "data_missing"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert pool.place(instance) == place
    driver.contents[volume_of(instance)].update(content)
    driver.volumes.add(volume_of(instance))
    assert rounds.carry_out(pool.clients.driver_for) == "1 shops have their data again"
    assert pool.settle(Operation.objects.latest("pk")) == "succeeded"


def _is_closed(pool: Pool, instance: Instance, place: str) -> None:
    """Nothing runs and nobody is led there; its place is kept."""
    assert pool.running(instance) == []
    assert pool.drivers[place].status(instance.public_id).state is ContainerState.EXITED
    assert pool.route(instance) == ""
    assert pool.place(instance) == place
    assert Tenant.objects.get(pk=instance.tenant_id).state == TenantState.FAILED


POINTS = (("apply", "before"), ("apply", "after"), ("check", "before"), ("succeed", "before"))
ENDS: dict[str, Callable[[Pool, Instance, Operation, str], None]] = {
    one.__name__.removeprefix("end_"): one
    for one in (
        *(end_lost, end_copied, end_chosen, end_back),
        *(end_failed, end_failed_and_lost, end_cancelled, end_gone),
    )
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("point", POINTS, ids="-".join)
def test_a_sign_up_that_visitors_were_led_to_never_begins_empty_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, str], end: str
) -> None:
    operation = pool.world.sign_up()
    cut(pool, operation, monkeypatch, *point)
    instance = Instance.objects.select_related("tenant").get()
    place = pool.place(instance)
    # An edge may know the route from its table, whoever was killed before telling it.
    pool.world.edges.routes.setdefault(
        routes.hostname_of(instance.tenant), f"acme@{_address(instance)}"
    )
    assert ordered(pool, instance)
    empty = begun(pool)
    ENDS[end](pool, instance, operation, place)
    if end == "cancelled":
        return
    instance.tenant.refresh_from_db()
    assert instance.tenant.state == TenantState.LIVE
    pool.check_one(instance)
    new_place = pool.place(instance)
    assert empty == ([new_place] if end == "chosen" else [])
    assert pool.orders(new_place, instance) == (set() if end == "chosen" else {"between"})


def _address(instance: Instance) -> str:
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    return f"{placement.host.address}:{placement.port}"


def begins_elsewhere(pool: Pool, operation: Operation) -> None:
    """Its host is lost; it comes up on another one."""
    instance = Instance.objects.select_related("tenant").get()
    place = pool.place(instance)
    fall(place)
    assert pool.settle(operation) == "succeeded"
    assert pool.place(instance) != place


def test_one_that_nobody_was_led_to_begins_elsewhere_as_if_nothing_had_been(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = pool.world.sign_up()
    cut(pool, operation, monkeypatch, "ensure_running", "after")
    begins_elsewhere(pool, operation)


def test_one_that_failed_before_anybody_was_led_to_it_leaves_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = pool.world.sign_up()
    cut(pool, operation, monkeypatch, "ensure_running", "after")
    operations.cancel(operation)
    assert pool.settle(operation) == "cancelled"
    assert {name for name in pool.drivers if pool.volumes(name)} == set()
    assert not Placement.objects.filter(until=None).exists()


def test_a_shop_without_data_of_its_own_begins_elsewhere(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = pool.world.sign_up()
    type(operation.instance.release).objects.update(has_volume=False)
    cut(pool, operation, monkeypatch, "apply", "after")
    begins_elsewhere(pool, operation)


def test_the_record_knows_before_any_edge_is_told_and_only_from_who_holds_the_lease(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = pool.world.sign_up()
    known: list[bool] = []
    apply = pool.world.edges.apply

    def told(*args: object) -> object:
        known.append(routes.was_opened(operation.tenant))
        return apply(*args)

    monkeypatch.setattr(pool.world.edges, "apply", told)
    check = routing.check

    def superseded(*args: object) -> None:
        operations.supersede(operation.tenant, reason="a test")
        check(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(routing, "check", superseded)
    assert pool.world.run(operation) == "taken over"
    assert known == [True]
    other = pool.world.sign_up("other")
    find = placements.reserve

    def taken(*args: object, **more: object) -> object:
        found = find(*args, **more)  # type: ignore[arg-type]
        Operation.objects.filter(pk=other.pk).update(fence=10**6)
        return found

    monkeypatch.setattr(placements, "reserve", taken)
    assert pool.world.run(other) == "taken over"
    assert not routes.was_opened(other.tenant)
    assert other.verb == Verb.PROVISION


def test_one_that_keeps_its_place_is_named_to_who_empties_its_host(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = pool.world.sign_up()
    cut(pool, operation, monkeypatch, "apply", "after")
    assert silent(pool, operation) == "failed"
    instance = Instance.objects.select_related("tenant").get()
    drain = drains.request(Host.objects.get(name=pool.place(instance)))
    progress = drain_progress.progress(drain, database_now())
    (trouble,) = progress.troubles
    assert (progress.left, trouble.slug) == (1, "acme")
    assert (trouble.code, trouble.is_retried) == ("shop_silent", False)
    assert "edge local answered 503" in trouble.message
    assert (progress.retried, progress.stuck) == ((), (trouble,))
