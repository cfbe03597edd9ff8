"""The pool read by stamps is the pool, whatever was written since, and takes two statements at most."""

from dataclasses import fields
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tenants.operations.models import Operation
from tenants.placement import bookings, placements
from tenants.placement.bookings import Booking
from tenants.pool.models import Host, HostReport
from tests.pools import host_views
from tests.workers.conftest import MIB, World, make_host
from workers.pool import mapping, reader
from workers.scheduler import Placed, PoolView, place
from workers.scheduler.demand_vector import DEFAULT, as_load, highs

SHAPE = tuple([10.25, 40.5] * 12 + [4.0] * 24 + [1000.0] * 24 + [64.0] * 24)
BUSY = Booking(cpu_millis=41, memory_bytes=20 * MIB, disk_bytes=MIB, shape=SHAPE)


@pytest.fixture(autouse=True)
def fresh() -> None:
    reader._kept = None


def _row_by_row() -> PoolView:
    return PoolView.of(host_views(Host.objects.order_by("pk")))


def _same(found: PoolView, wanted: PoolView) -> None:
    for field in fields(PoolView):
        mine, other = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_allclose(mine, other, rtol=1e-6, err_msg=field.name)
        else:
            assert mine == other, field.name


def test_it_is_what_the_rows_say(world: World) -> None:
    make_host("two")
    make_host("silent", is_seen=False)
    Host.objects.filter(name="two").update(state="cordoned")
    placements.reserve(world.sign_up().instance, world.host.pk, BUSY, reasons=[])
    HostReport.objects.update(used_cpu_millis=50_000, used_memory_bytes=500 * MIB)
    found = reader.read()
    _same(found, _row_by_row())
    assert found.is_seen.tolist() == [True, True, False]
    assert found.busy[0].tolist() == [0.5, 0.5]


def test_what_is_written_afterwards_is_seen_by_the_next_look(world: World) -> None:
    two = make_host("two")
    before = reader.read()
    kept = before.load.copy()
    with transaction.atomic():
        placements.reserve(world.sign_up().instance, two.pk, BUSY, reasons=[])
    Host.objects.filter(pk=world.host.pk).update(state="cordoned")
    HostReport.objects.filter(host=two).update(seen_at=Now() - timedelta(minutes=1))
    after = reader.read()
    _same(after, _row_by_row())
    assert not np.array_equal(after.load, before.load)
    np.testing.assert_array_equal(before.load, kept, "what somebody still looks at has changed")


def test_a_busy_processor_keeps_no_shop_out_and_full_memory_does(world: World) -> None:
    view = mapping.view_of(world.sign_up().instance, BUSY)
    HostReport.objects.update(used_cpu_millis=100_000)
    assert isinstance(place(view, reader.read()), Placed)
    HostReport.objects.update(used_memory_bytes=1000 * MIB)
    assert not isinstance(place(view, reader.read()), Placed)


def test_a_host_that_reports_and_is_given_up_is_not_seen(world: World) -> None:
    assert reader.read().is_seen.tolist() == [True]
    Host.objects.update(health="lost")
    assert reader.read().is_seen.tolist() == [False]


def test_what_was_undone_is_not_seen(world: World) -> None:
    booked = reader.read().load.copy()
    with transaction.atomic():
        placements.reserve(world.sign_up().instance, world.host.pk, BUSY, reasons=[])
        assert not np.array_equal(reader.read().load, booked)
        transaction.set_rollback(True)
    np.testing.assert_array_equal(reader.read().load, booked)


def test_hosts_that_come_go_or_change_their_name_are_seen(world: World) -> None:
    reader.read()
    two = make_host("two")
    assert reader.read().names == ("local", "two")
    Host.objects.filter(pk=two.pk).update(name="second")
    _same(reader.read(), _row_by_row())
    HostReport.objects.filter(host=two).delete()
    two.delete()
    assert reader.read().names == ("local",)


def test_starts_that_are_on_their_way_are_counted(world: World) -> None:
    operation = world.sign_up()
    placements.reserve(operation.instance, world.host.pk, BUSY, reasons=[])
    assert reader.read().starting.tolist() == [0]
    Operation.objects.update(state="running")
    assert reader.read().starting.tolist() == [1]


def test_as_many_queries_for_many_hosts_as_for_one(world: World) -> None:
    for number in range(20):
        make_host(f"more-{number}")
    with CaptureQueriesContext(connection) as first:
        reader.read()
    with CaptureQueriesContext(connection) as unchanged:
        reader.read()
    Host.objects.filter(name__startswith="more-1").update(placed=F("placed") + 1)
    with CaptureQueriesContext(connection) as changed:
        reader.read()
    assert (len(first), len(unchanged), len(changed)) == (2, 1, 2)


def test_a_pool_without_hosts_is_empty(db: None) -> None:
    assert len(reader.read()) == 0


def test_the_guard_reckons_as_the_scheduler_does(world: World) -> None:
    assert pytest.approx(DEFAULT.z, rel=1e-3) == bookings.Z
    assert DEFAULT.correlation == bookings.CORRELATION
    for slug in ("one", "two", "three"):
        placements.reserve(world.sign_up(slug).instance, world.host.pk, BUSY, reasons=[])
    pool = reader.read()
    host = Host.objects.get()
    expected = highs(pool.load)[0, 0]
    assert abs(host.booked_cpu_millis - expected) <= 1
    demand = np.array([*SHAPE, 20 * MIB, MIB], np.float32)
    np.testing.assert_allclose(pool.load[0], 3 * as_load(demand), rtol=1e-6)


def test_what_was_added_comes_off_again_without_a_trace(world: World) -> None:
    made = [
        placements.reserve(world.sign_up(slug).instance, world.host.pk, BUSY, reasons=[])
        for slug in ("one", "two", "three")
    ]
    for placement in made:
        assert placement is not None
        placements.release(placement, hostname="x", waiting_for=[])
    host = Host.objects.get()
    assert (host.placed, host.booked_cpu_millis, host.booked_memory_bytes) == (0, 0, 0)
    assert set(host.load) == {0.0}


def test_hosts_share_what_their_instances_do_not_want_at_the_same_hour(world: World) -> None:
    """Two that are busy by day and two by night fit where three busy by day do not."""
    day = Booking(800, MIB, 0, tuple([800.0] * 12 + [50.0] * 12 + [0.0] * 72))
    night = Booking(800, MIB, 0, tuple([50.0] * 12 + [800.0] * 12 + [0.0] * 72))

    Host.objects.update(capacity_cpu_millis=100_000)
    instances = [world.sign_up(f"shop-{n}").instance for n in range(5)]
    Host.objects.update(capacity_cpu_millis=2000)
    wanted = [day, day, day, night, night]
    took = [
        placements.reserve(instance, world.host.pk, booking, reasons=[]) is not None
        for instance, booking in zip(instances, wanted, strict=True)
    ]
    assert took == [True, True, False, True, True]
    assert Host.objects.get().booked_cpu_millis == 1700
