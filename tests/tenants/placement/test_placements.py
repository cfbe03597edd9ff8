"""Room and ports are booked by one guarded statement: never too much, never twice, reused last."""

import pytest
from django.db import IntegrityError
from django.db.models.functions import Now

from tenants.placement import bookings, placements, shortages
from tenants.placement.bookings import Booking
from tenants.placement.models import Placement, PortQuarantine, Route
from tenants.pool.models import Edge, Host, HostReport
from tenants.shops.models import Instance
from tests.factories import MIB, make_edge, make_host, make_shop, race

SMALL = Booking(cpu_millis=10, memory_bytes=9 * MIB, disk_bytes=0)
HALF = Booking(cpu_millis=500, memory_bytes=9 * MIB, disk_bytes=0)


def _instances(count: int) -> list[Instance]:
    return [make_shop(f"shop-{n}").operation.instance for n in range(count)]


def _caught_up(edge: Edge, sequence: int) -> None:
    """The edge reports that it holds every change up to this one."""
    Edge.objects.filter(pk=edge.pk).update(is_synced=True, seen_at=Now(), applied_sequence=sequence)
    placements.forget_caught_up_edges()


def _reserve(instance: Instance, host: Host, booking: Booking = SMALL) -> Placement:
    placement = placements.reserve(instance, host.pk, booking, reasons=["fits"])
    assert placement is not None
    return placement


@pytest.mark.django_db
def test_disk_is_booked_too_and_its_end_is_the_pool_s() -> None:
    shop = make_shop("first").tenant
    instance = Instance.objects.get()
    booking = bookings.cold_booking(instance.release, shop.plan)
    assert booking.disk_bytes == shop.plan.disk_bytes // bookings.DISK_SHARE > 0
    host = make_host(capacity_disk_bytes=booking.disk_bytes + 1)
    placement = _reserve(instance, host, booking)
    host.refresh_from_db()
    assert host.booked_disk_bytes == booking.disk_bytes
    assert shortages.left(booking).count == 0
    assert placements.reserve(instance, host.pk, booking, reasons=[]) is None
    placements.release(placement, hostname="first.localhost", waiting_for=[])
    host.refresh_from_db()
    assert host.booked_disk_bytes == 0
    assert shortages.left(booking).count != 0


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["disk_low", "disk_full", "disk_unfit"])
def test_a_pool_whose_disks_fill_up_takes_nobody_in(kind: str) -> None:
    host = make_host()
    report = HostReport.objects.create(
        host=host, seen_at=Now(), boot_id="b", sequence=1, digest="d"
    )
    assert shortages.left(SMALL).count != 0
    report.conditions = [{"kind": kind, "message": "full"}]
    report.save()
    assert shortages.left(SMALL).count == 0


@pytest.mark.django_db
def test_a_booking_is_counted_on_the_host_and_given_back_with_the_placement() -> None:
    host = make_host()
    placement = _reserve(make_shop().operation.instance, host)
    host.refresh_from_db()
    assert (host.booked_cpu_millis, host.booked_memory_bytes) == (10, 9 * MIB)
    placements.release(placement, hostname="acme.localhost", waiting_for=[])
    placements.release(placement, hostname="acme.localhost", waiting_for=[])  # calm
    host.refresh_from_db()
    assert (host.booked_cpu_millis, host.booked_memory_bytes) == (0, 0)
    assert placements.open_placement(placement.instance) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"capacity_cpu_millis": 700, "reserve_cpu_millis": 201},
        {"capacity_memory_bytes": 9 * MIB, "reserve_memory_bytes": 1},
        {"state": "cordoned"},
    ],
)
def test_no_room_is_taken_from_the_reserve_nor_from_a_cordoned_host(
    fields: dict[str, object],
) -> None:
    host = make_host(**fields)  # type: ignore[arg-type]
    instance = make_shop_without_look(host)
    assert placements.reserve(instance, host.pk, HALF, reasons=[]) is None
    host.refresh_from_db()
    assert host.booked_cpu_millis == 0
    assert host.next_port == host.first_port


def make_shop_without_look(host: Host) -> Instance:
    """A shop made while the pool still had room."""
    kept = {field: getattr(host, field) for field in ("state", "capacity_memory_bytes")}
    Host.objects.filter(pk=host.pk).update(state="open", capacity_memory_bytes=1 << 40)
    instance = make_shop().operation.instance
    Host.objects.filter(pk=host.pk).update(**kept)
    return instance


@pytest.mark.django_db
def test_the_database_forbids_two_open_placements_of_an_instance_and_of_a_port() -> None:
    host = make_host()
    placement = _reserve(make_shop().operation.instance, host)
    with pytest.raises(IntegrityError, match="one_open_placement_per"):
        placements.reserve(placement.instance, host.pk, SMALL, reasons=[])


@pytest.mark.django_db(transaction=True)
def test_many_who_reserve_at_once_never_book_more_than_there_is() -> None:
    host = make_host(cpu_millis=2000)
    instances = _instances(8)
    found = race(
        *(lambda one=one: placements.reserve(one, host.pk, HALF, reasons=[]) for one in instances)
    )
    placed = [one for one in found if isinstance(one, Placement)]
    assert len(placed) == 4
    assert [one for one in found if isinstance(one, Exception)] == []
    host.refresh_from_db()
    assert host.booked_cpu_millis == 2000
    assert len({one.port for one in placed}) == 4


@pytest.mark.django_db
def test_fresh_ports_come_first_and_then_the_one_that_rested_longest() -> None:
    first, second, third, fourth = _instances(4)
    host = make_host(first_port=10000, last_port=10002, next_port=10000)
    one = _reserve(first, host)
    placements.release(one, hostname="a.localhost", waiting_for=[])
    two = _reserve(second, host)
    placements.release(two, hostname="b.localhost", waiting_for=[])
    three = _reserve(third, host)
    assert (one.port, two.port, three.port) == (10000, 10001, 10002)
    assert _reserve(fourth, host).port == 10000


@pytest.mark.django_db
def test_ports_that_are_used_again_count_on_no_further_and_added_ones_are_all_given_out() -> None:
    instances = _instances(5)
    host = make_host(first_port=10000, last_port=10001, next_port=10000)
    for _ in range(3):
        for one in instances[:2]:
            placements.release(_reserve(one, host), hostname="a.localhost", waiting_for=[])
    kept = [_reserve(one, host) for one in instances[:2]]
    assert {one.port for one in kept} == {10000, 10001}
    assert placements.reserve(instances[2], host.pk, SMALL, reasons=[]) is None
    assert bookings.book(host.pk, SMALL) is None
    host.refresh_from_db()
    assert (host.next_port, host.placed) == (10002, 2)
    Host.objects.update(last_port=10004)
    assert [_reserve(one, host).port for one in instances[2:]] == [10002, 10003, 10004]
    for placement in kept:
        placements.release(placement, hostname="a.localhost", waiting_for=[])
    seat = bookings.book(host.pk, SMALL)
    assert seat is not None
    assert seat.port == 10000


@pytest.mark.django_db
def test_a_port_beyond_the_range_that_was_made_smaller_is_not_used_again() -> None:
    first, second, third = _instances(3)
    host = make_host(first_port=10000, last_port=10001, next_port=10000)
    placed = [_reserve(one, host) for one in (first, second)]
    for placement in reversed(placed):
        placements.release(placement, hostname="a.localhost", waiting_for=[])
    Host.objects.update(last_port=10000)
    assert _reserve(third, host).port == 10000
    assert placements.reserve(first, host.pk, SMALL, reasons=[]) is None


@pytest.mark.django_db
def test_a_port_is_not_reused_while_an_edge_may_still_lead_there() -> None:
    first, second = _instances(2)
    host = make_host(first_port=10000, last_port=10000, next_port=10000)
    edges = [make_edge("one"), make_edge("two")]
    route = Route.objects.create(hostname="a.localhost", tenant=first.tenant, value="", sequence=7)
    placements.release(
        _reserve(first, host), hostname=route.hostname, waiting_for=[edge.name for edge in edges]
    )
    before = Host.objects.get(pk=host.pk).booked_cpu_millis
    assert placements.reserve(second, host.pk, SMALL, reasons=[]) is None
    assert Host.objects.get(pk=host.pk).booked_cpu_millis == before, "a booking without a port"
    _caught_up(edges[0], 7)
    _caught_up(edges[1], 6)
    assert placements.reserve(second, host.pk, SMALL, reasons=[]) is None
    _caught_up(edges[1], 7)
    assert _reserve(second, host).port == 10000


@pytest.mark.django_db
def test_an_edge_that_was_removed_holds_no_port_back() -> None:
    first, second = _instances(2)
    host = make_host(first_port=10000, last_port=10000, next_port=10000)
    make_edge("gone")
    placements.release(_reserve(first, host), hostname="a.localhost", waiting_for=["gone"])
    Edge.objects.all().delete()
    assert _reserve(second, host).port == 10000
    assert not PortQuarantine.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_last_free_port_goes_to_one_of_those_who_ask_at_once() -> None:
    instances = _instances(5)
    host = make_host(first_port=10000, last_port=10000, next_port=10000)
    placements.release(_reserve(instances[0], host), hostname="a.localhost", waiting_for=[])
    found = race(
        *(
            lambda one=one: placements.reserve(one, host.pk, SMALL, reasons=[])
            for one in instances[1:]
        )
    )
    assert sum(isinstance(one, Placement) for one in found) == 1
    assert sum(one is None for one in found) == 3
    host.refresh_from_db()
    assert host.booked_cpu_millis == SMALL.cpu_millis


@pytest.mark.django_db
def test_a_pool_is_full_when_it_has_hosts_and_none_has_room() -> None:
    assert shortages.left(SMALL).count != 0  # unseen, not full
    host = make_host(cpu_millis=100)
    assert shortages.left(SMALL).count != 0
    assert shortages.left(HALF).count == 0
    Host.objects.filter(pk=host.pk).update(state="cordoned")
    assert shortages.left(SMALL).count == 0
