"""Many placed together: as one by one, set by set; never too much, never twice."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants.placement import bulk, placements, resizing
from tenants.placement.bookings import Booking
from tenants.placement.bulk import Wanted
from tenants.placement.models import Decision, Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tests.factories import race
from tests.workers.conftest import MIB, World, make_host
from workers.pool import mapping, placing, reader
from workers.pool.placing import Asked
from workers.scheduler import place
from workers.scheduler.place_batch import place_all

SMALL = Booking(10, 10 * MIB, MIB)


@pytest.fixture(autouse=True)
def fresh() -> None:
    reader._kept = None


def _asked(world: World, count: int, booking: Booking = SMALL) -> list[Asked]:
    instances = [world.sign_up(f"shop-{number}").instance for number in range(count)]
    return [Asked(one.pk, mapping.view_of(one, booking), booking) for one in instances]


def _sums_hold() -> None:
    for host in Host.objects.all():
        assert resizing.repair(host.pk) == ""
    ports = Placement.objects.filter(until=None).values_list("host", "port")
    assert len(set(ports)) == len(ports)


def test_all_get_a_place_a_port_and_a_decision(world: World) -> None:
    make_host("two")
    outcome = placing.reserve_all(_asked(world, 12), reason="host gone was lost")
    assert (len(outcome.placed), outcome.left) == (12, ())
    assert Placement.objects.filter(until=None).count() == 12
    assert Decision.objects.filter(outcome="placed").count() == 12
    assert Placement.objects.first().reasons == ["host gone was lost, placed together"]  # type: ignore[union-attr]
    _sums_hold()


def test_hosts_are_filled_in_the_order_of_single_placements(world: World) -> None:
    make_host("tight", memory_mib=45)
    asked = _asked(world, 6)
    together = place_all([one.view for one in asked], reader.read())
    first = place(asked[0].view, reader.read())
    assert together.host_ids[0] == first.candidates[0]  # type: ignore[union-attr]
    names = dict(Host.objects.values_list("pk", "name"))
    assert sorted(names[pk] for pk in together.host_ids) == ["local"] * 2 + ["tight"] * 4


def test_those_without_room_are_left_with_the_reason(world: World) -> None:
    asked = _asked(world, 5)
    Host.objects.update(capacity_memory_bytes=35 * MIB)
    outcome = placing.reserve_all(asked, reason="drain")
    assert (len(outcome.placed), len(outcome.left)) == (3, 2)
    assert "has no room: memory" in outcome.refusals[0]
    assert not outcome.is_unseen
    _sums_hold()


def test_a_host_gets_no_more_than_may_start_there_at_once(world: World) -> None:
    make_host("two")
    outcome = placing.reserve_all(_asked(world, 7), reason="drain", most_per_host=3)
    assert (len(outcome.placed), len(outcome.left)) == (6, 1)
    assert sorted(Host.objects.values_list("placed", flat=True)) == [3, 3]


def test_what_has_a_place_keeps_it(world: World) -> None:
    asked = _asked(world, 3)
    instance = Instance.objects.get(pk=asked[0].instance_id)
    two = make_host("two")
    placements.reserve(instance, two.pk, SMALL, reasons=[])
    placing.reserve_all(asked, reason="again")
    placing.reserve_all(asked, reason="and again")
    assert Placement.objects.filter(until=None).count() == 3
    assert Placement.objects.get(instance=instance).host == two
    _sums_hold()


def test_a_host_that_filled_up_meanwhile_takes_nothing(world: World) -> None:
    asked = _asked(world, 4)
    Host.objects.update(capacity_memory_bytes=25 * MIB)
    wanted = [Wanted(one.instance_id, world.host.pk, SMALL, ("x",)) for one in asked]
    assert bulk.reserve_many(wanted) == frozenset()
    assert Placement.objects.count() == 0
    _sums_hold()


@pytest.mark.django_db(transaction=True)
def test_two_who_place_the_same_at_once_place_each_once(world: World) -> None:
    make_host("two")
    Host.objects.update(capacity_memory_bytes=64 * 1024 * MIB, capacity_cpu_millis=100_000)
    asked = _asked(world, 30)
    found = race(
        lambda: placing.reserve_all(asked, reason="a"),
        lambda: placing.reserve_all(asked[::-1], reason="b"),
    )
    assert not [one for one in found if isinstance(one, Exception)], found
    assert Placement.objects.filter(until=None).count() == 30
    _sums_hold()


def test_as_many_queries_for_many_as_for_few(world: World) -> None:
    Host.objects.update(capacity_memory_bytes=64 * 1024 * MIB, capacity_cpu_millis=100_000)
    few, many = _asked(world, 2), []
    for number in range(2, 30):
        instance = world.sign_up(f"shop-{number}").instance
        many.append(Asked(instance.pk, mapping.view_of(instance, SMALL), SMALL))
    with CaptureQueriesContext(connection) as small:
        placing.reserve_all(few, reason="x")
    with CaptureQueriesContext(connection) as large:
        placing.reserve_all(many, reason="x")
    assert len(large) <= len(small)
