"""Shipped usage becomes profiles and bookings: once per window whatever happens in between."""

import json
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runtime.units import UsageWindow
from runtime.wire import to_wire
from tenants.placement import bookings, resizing
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.usage import profiles
from tenants.usage.models import HostUsage, InstanceProfile, Prior
from tests.workers.conftest import MIB, World
from workers.pool import reader
from workers.reconcilers import rebalancing
from workers.scheduler.demand_vector import CPU, CPU_MEAN, MEMORY, flat
from workers.scheduler.profiles.history import MEANS, expected
from workers.scheduler.profiles.usage_profile import PROFILE
from workers.usage import priors, rightsizing, rollup


def _hour(ago: int) -> datetime:
    """The beginning of the hour that ended so many hours ago, and an hour before that."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    return now - timedelta(hours=ago + 1)


def _ship(
    host: Host,
    names: list[str],
    *,
    ago: int = 1,
    millis: float = 50.0,
    memory: int = 20 * MIB,
    kills: int = 0,
    is_on_and_off: bool = False,
) -> None:
    """A whole hour of windows from the host's agent; twice as much and nothing in turn when on and off."""
    start = _hour(ago)
    count = len(names)
    for number in range(12):
        window = UsageWindow(
            number=number,
            seconds=300.0,
            age_seconds=0.0,
            instance_ids=tuple(names),
            cpu_micros=(round(millis * 1000 * (2 * (number % 2) if is_on_and_off else 1)),) * count,
            cpu_peak_micros=(round(millis * 2000),) * count,
            memory_peak_bytes=(memory,) * count,
            tx_bytes=(300 * 1000,) * count,
            disk_bytes=(3 * MIB,) * count,
            oom_kills=(kills,) * count,
        )
        HostUsage.objects.create(
            host=host,
            at=start + timedelta(minutes=5 * (number + 1)),
            samples=[],
            window=to_wire(window),
            source=f"{ago}:{number}",
        )


def _live(world: World, count: int = 1) -> list[Instance]:
    for number in range(count):
        world.live_tenant(f"shop-{number}")
    return list(Instance.objects.order_by("pk"))


def _profile(instance: Instance) -> np.void:
    record = InstanceProfile.objects.get(instance=instance)
    profile: np.void = np.frombuffer(bytes(record.packed), PROFILE)[0]
    return profile


def _sums_hold() -> None:
    for host in Host.objects.all():
        assert resizing.repair(host.pk) == "", "the sums were not those of the placements"


def test_an_hour_of_windows_becomes_one_hour_of_a_profile(world: World) -> None:
    (instance,) = _live(world)
    _ship(world.host, [instance.public_id])
    rollup.fold_usage()
    profile = _profile(instance)
    assert profile["hours"] == 1
    assert profile["memory"].max() == 20 * MIB
    assert not HostUsage.objects.filter(is_folded=False).exists()


def test_an_hour_that_goes_on_is_left_alone(world: World) -> None:
    (instance,) = _live(world)
    _ship(world.host, [instance.public_id], ago=-1)
    rollup.fold_usage()
    assert not InstanceProfile.objects.exists()


def test_a_second_round_counts_nothing_twice(world: World) -> None:
    (instance,) = _live(world)
    _ship(world.host, [instance.public_id])
    rollup.fold_usage()
    before = _profile(instance)
    assert rollup.fold_usage() == ""
    assert _profile(instance) == before


@pytest.mark.parametrize("where", ["usage.profiles.store", "placement.resizing.rebook"])
def test_a_kill_in_the_middle_has_counted_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (instance,) = _live(world)
    _ship(world.host, [instance.public_id], memory=80 * MIB)

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(f"tenants.{where}", die)
        with pytest.raises(KeyboardInterrupt):
            rollup.fold_usage()
    assert not InstanceProfile.objects.exists()
    assert HostUsage.objects.filter(is_folded=True).count() == 0
    rollup.fold_usage()
    assert _profile(instance)["hours"] == 1
    _sums_hold()


def test_more_memory_than_was_booked_is_booked_at_once(world: World) -> None:
    (instance,) = _live(world)
    Placement.objects.update(memory_bytes=10 * MIB)
    Host.objects.update(booked_memory_bytes=10 * MIB)
    _ship(world.host, [instance.public_id], memory=40 * MIB)
    rollup.fold_usage()
    placement = Placement.objects.get()
    assert placement.memory_bytes >= 44 * MIB
    assert Host.objects.get().booked_memory_bytes == placement.memory_bytes
    _sums_hold()


def test_who_ran_out_of_memory_is_booked_at_its_ceiling(world: World) -> None:
    (instance,) = _live(world)
    Placement.objects.update(memory_bytes=10 * MIB)
    resizing.repair(world.host.pk)
    _ship(world.host, [instance.public_id], memory=20 * MIB, kills=1)
    rollup.fold_usage()
    assert Placement.objects.get().memory_bytes >= 64 * MIB


def test_less_is_booked_only_when_it_lasts(world: World) -> None:
    (instance,) = _live(world)
    for ago in range(30, 0, -1):
        _ship(world.host, [instance.public_id], ago=ago)
    assert Placement.objects.get().memory_bytes == 64 * MIB
    rollup.fold_usage()
    rollup.fold_usage()
    assert Placement.objects.get().memory_bytes == 64 * MIB, "booked a moment ago"
    Placement.objects.update(booked_at=timezone.now() - timedelta(hours=25))
    _ship(world.host, [instance.public_id], ago=0)
    HostUsage.objects.filter(source__startswith="0:").update(is_folded=False)
    _end_hour_now(world.host)
    placement = Placement.objects.get()
    assert 20 * MIB < placement.memory_bytes < 30 * MIB
    assert 40 < placement.cpu_millis < 70
    _sums_hold()


def _end_hour_now(host: Host) -> None:
    """The last hour's rows, folded whatever minute it is."""
    grace, rollup.GRACE = rollup.GRACE, timedelta(0)
    try:
        rollup.fold_usage()
    finally:
        rollup.GRACE = grace


def test_a_host_speaks_for_its_own_instances_only(world: World) -> None:
    (instance,) = _live(world)
    other = Host.objects.create(
        name="other",
        address="100.96.0.2",
        capacity_cpu_millis=1000,
        capacity_memory_bytes=MIB,
        capacity_disk_bytes=MIB,
        broker_secret_sha256="1" * 64,
        token_sha256="1" * 64,
    )
    _ship(other, [instance.public_id])
    rollup.fold_usage()
    assert not InstanceProfile.objects.exists()


def test_agents_that_make_no_windows_are_learnt_from_by_their_samples(world: World) -> None:
    (instance,) = _live(world)
    sample = {
        "instance_id": instance.public_id,
        "cpu_throttled_nanos": 0,
        "memory_bytes": 30 * MIB,
        "memory_peak_bytes": 60 * MIB,
        "oom_kills": 0,
        "pids": 1,
        "rx_bytes": 0,
        "tx_bytes": 0,
        "disk_bytes": MIB,
    }
    times = [_hour(1) + timedelta(minutes=5 * number) for number in range(13)]
    for number, at in enumerate(times):
        nanos = {"cpu_nanos": number * 300 * 100_000_000}  # a tenth of a core
        HostUsage.objects.create(host=world.host, at=at, samples=[sample | nanos])
    assert all(b - a == timedelta(minutes=5) for a, b in pairwise(times))
    rollup.fold_usage()
    profile = _profile(instance)
    assert profile["hours"] == 1
    assert profile["memory"].max() == 30 * MIB


def test_as_many_queries_for_many_instances_as_for_one(world: World) -> None:
    instances = _live(world, 6)
    _ship(world.host, [instances[0].public_id], ago=2)
    with CaptureQueriesContext(connection) as one:
        rollup.fold_host(world.host.pk)
    _ship(world.host, [each.public_id for each in instances], ago=1)
    with CaptureQueriesContext(connection) as many:
        rollup.fold_host(world.host.pk)
    assert len(many) <= len(one) + 1, json.dumps([q["sql"][:90] for q in many], indent=1)


def test_a_new_instance_is_booked_as_others_of_its_kind_are_used(world: World) -> None:
    instances = _live(world, priors.LEAST_INSTANCES)
    for ago in range(26, 0, -1):
        _ship(world.host, [one.public_id for one in instances], ago=ago, millis=70)
    while rollup.fold_usage():
        pass
    assert priors.learn_priors() == "1 kinds of instances learnt"
    assert Prior.objects.get().instances == priors.LEAST_INSTANCES
    newcomer = world.sign_up("newcomer").instance
    booking = bookings.cold_booking(newcomer.release, newcomer.tenant.plan)
    assert 60 < booking.cpu_millis < 80
    assert 20 * MIB < booking.memory_bytes < 30 * MIB


def test_the_processor_is_booked_lower_only_when_much_lower(world: World) -> None:
    _live(world)
    placement = Placement.objects.get()
    day_old = placement.booked_at + timedelta(hours=25)
    almost = flat(950, 64 * MIB, placement.disk_bytes)
    assert rightsizing.next_booking(placement, almost, now=day_old) is None
    half = flat(500, 64 * MIB, placement.disk_bytes)
    assert rightsizing.next_booking(placement, half, now=placement.booked_at) is None
    booking = rightsizing.next_booking(placement, half, now=day_old)
    assert booking is not None
    assert (booking.cpu_millis, booking.memory_bytes) == (500, 64 * MIB)
    assert half[CPU_MEAN].max() == 500
    assert half[MEMORY] == 64 * MIB


def test_of_a_shop_that_is_gone_nothing_is_remembered(world: World) -> None:
    (instance,) = _live(world)
    _ship(world.host, [instance.public_id])
    rollup.fold_usage()
    assert InstanceProfile.objects.count() == 1
    world.run(removals.request(instance.tenant))
    assert not InstanceProfile.objects.exists()
    assert Placement.objects.get().shape == []
    assert Host.objects.get().placed == 0
    _sums_hold()


def test_sums_that_went_wrong_are_put_right_and_told(world: World) -> None:
    _live(world, 2)
    assert resizing.repair(world.host.pk) == ""
    Host.objects.update(booked_memory_bytes=1, placed=7, load=[1.0] * 144)
    assert "booked for 7 instances" in resizing.repair(world.host.pk)
    host = Host.objects.get()
    assert (host.placed, host.booked_memory_bytes) == (2, 128 * MIB)
    assert host.load[0] == 2000
    assert host.booked_cpu_millis == 2000
    _sums_hold()


def test_a_host_is_judged_by_its_recorded_week_once_it_was_folded(world: World) -> None:
    names = [one.public_id for one in _live(world, 3)]
    reader._kept = None
    assert np.isnan(_beyond()).all()
    _ship(world.host, names, millis=400.0)
    rollup.fold_usage()
    pool = reader.read()  # a version of the row that is kept tells nothing of the week
    assert pool.beyond is not None
    assert np.isfinite(pool.beyond).all()
    week = pool.beyond[0, MEANS] + np.tile(pool.load[0, CPU_MEAN], 7)
    # In the hour that was measured; all others are as booked.
    assert sorted(set(week.round(-1).tolist())) == [pytest.approx(1200, rel=0.04), 3000]
    instances = rebalancing.instances_on(pool, np.array([0]))
    assert instances.beyond is not None
    assert np.allclose(instances.beyond.sum(axis=0), pool.beyond[0], atol=0.1)


def test_no_host_is_expected_to_carry_more_than_its_instances_may_use(world: World) -> None:
    """Flat out for half of an hour: a normal distribution would go on beyond the limit of the plan."""
    live = _live(world, 3)
    _ship(world.host, [one.public_id for one in live], millis=500.0, is_on_and_off=True)
    rollup.fold_usage()
    reader._kept = None
    pool = reader.read()
    most = sum(one.tenant.plan.cpu_millis for one in live)
    assert most == 3000
    assert expected(pool.load, pool.beyond)[0, CPU] <= most * 1.01
    instances = rebalancing.instances_on(pool, np.array([0]))
    assert instances.beyond is not None
    assert pool.beyond is not None
    assert np.allclose(instances.beyond.sum(axis=0), pool.beyond[0], atol=0.1)


def test_a_week_of_another_version_counts_as_none(world: World) -> None:
    _live(world)
    profiles.store_week(world.host.pk, b"other")
    reader._kept = None
    assert np.isnan(_beyond()).all()


def _beyond() -> np.ndarray:
    found = reader.read().beyond
    assert found is not None
    return found
