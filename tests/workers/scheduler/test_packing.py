import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.made_pool import made_pool
from workers.scheduler.judged import limits
from workers.scheduler.ledger import Ledger
from workers.scheduler.load import CPU_MEAN, CPU_SWING, DEFAULT, F32, flat, highs, sum_by_host
from workers.scheduler.packing import fits_elsewhere, hosts_needed, place_many
from workers.scheduler.topping import top_up
from workers.scheduler.values import HostView, Instances, InstanceView, PoolView, Resources

_GIB = 1024**3
_OFFERED = Resources(cpu_millis=4000, memory_bytes=8 * _GIB, disk_bytes=100 * _GIB)


def _pool(*carried: float, offered: Resources = _OFFERED) -> PoolView:
    """A host for each amount of memory carried, in GiB."""
    return PoolView.of(
        [
            HostView(
                id=number,
                name=f"host-{number}",
                is_open=True,
                is_seen=True,
                offered=offered,
                booked=Resources(memory_bytes=int(gib * _GIB)),
                instances=int(gib > 0),
            )
            for number, gib in enumerate(carried, 1)
        ]
    )


def _instances(*memory: float, host: list[int] | None = None) -> Instances:
    views = [
        InstanceView(id=f"ins_{number}", demand=flat(100, gib * _GIB, _GIB))
        for number, gib in enumerate(memory)
    ]
    return Instances.of(views, host)


def test_hosts_in_use_are_filled_before_empty_ones() -> None:
    found = place_many(_pool(0, 5, 2), _instances(1, 1, 1, 4))
    assert sorted(found.tolist()) == [1, 1, 1, 2]


def test_what_has_a_host_keeps_it_and_what_fits_nowhere_gets_none() -> None:
    found = place_many(_pool(0, 5), _instances(1, 20, host=[0, -1]))
    assert found.tolist() == [0, -1]


def test_a_closed_host_is_no_place() -> None:
    pool = PoolView.of([HostView(id=1, name="a", is_open=False, is_seen=True, offered=_OFFERED)])
    assert place_many(pool, _instances(1)).tolist() == [-1]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 400))
def test_placing_in_bulk_keeps_every_host_within_its_limits(hosts: int, count: int) -> None:
    pool, waiting = made_pool(hosts, count, placed=False)
    found = place_many(pool, waiting)
    reached = highs(sum_by_host(waiting.demands, found, hosts))
    assert (reached[:, :3] <= limits(pool)[:, :3] * (1 + 1e-5)).all()
    assert (found == place_many(pool, waiting)).all()


def test_a_bulk_needs_no_more_hosts_than_placing_one_by_one() -> None:
    pool, waiting = made_pool(20, 1000, placed=False)
    ledger = Ledger(pool, waiting, DEFAULT)
    for row in np.argsort(-ledger.sizes(range(1000)), kind="stable").tolist():
        ledger.put(row, ledger.best(row, np.arange(20)))
    assert len(np.unique(place_many(pool, waiting))) <= int(ledger.in_use().sum())


def test_hosts_are_topped_up_from_the_last_ones() -> None:
    demands = np.stack([flat(cpu, 1, 1) for cpu in (600, 500, 300, 200)])
    most = np.full((4, 4), 1000.0)
    most[:, 3] = np.inf
    empty = np.zeros((4, 146), np.float32)
    bins = top_up(demands, np.array([0, 1, 2, 3]), empty, most, DEFAULT)
    assert bins.tolist() == [0, 1, 0, 1]
    assert top_up(demands, np.array([0, -1, -1, 1]), empty, most, DEFAULT).tolist() == [
        0,
        -1,
        -1,
        0,
    ]


def _swinging(count: int) -> F32:
    rows = np.stack([flat(50, 64 * 1024**2, 0)] * count)
    rows[:, CPU_SWING] = 100
    return rows


def test_swings_are_shared_in_bulk() -> None:
    """Together they need far less than each at its own high."""
    needed = hosts_needed(_swinging(400), Resources(cpu_millis=8000, memory_bytes=64 * _GIB))
    alone = float(highs(_with_squares(_swinging(1)))[0, 0])
    assert needed.hosts < 0.6 * (400 * alone / (8000 * DEFAULT.shares[0]))
    assert needed.least <= needed.hosts
    assert needed.scarce == "processor"


def _with_squares(rows: F32) -> F32:
    return sum_by_host(rows, np.zeros(len(rows), np.int64), 1)


def test_an_instance_that_fits_alone_by_the_true_curve_has_its_host() -> None:
    """The straight line is made for hosts full of small ones and lies far above one that swings much."""
    rows = _swinging(300)
    rows[0, CPU_SWING] = (4000 * 0.9 - 60) / DEFAULT.z
    views = [InstanceView(id=str(number), demand=row) for number, row in enumerate(rows)]
    found = place_many(_pool(*[0] * 40), Instances.of(views))
    assert (found >= 0).all()
    assert highs(sum_by_host(rows, found, 40))[:, 0].max() <= 4000 * DEFAULT.shares[0] * (1 + 1e-6)


def test_many_instances_are_counted_by_a_sample() -> None:
    offered = Resources(cpu_millis=64_000, memory_bytes=16 * _GIB)
    few = hosts_needed(np.repeat(_swinging(1), 4_000, axis=0), offered)
    many = hosts_needed(np.repeat(_swinging(1), 40_000, axis=0), offered)
    assert many.hosts == pytest.approx(10 * few.hosts, rel=0.02)


def test_an_instance_larger_than_a_host_is_told_and_counted_as_one() -> None:
    rows = np.stack([flat(1, 100 * _GIB, 0), flat(1, _GIB, 0)])
    needed = hosts_needed(rows, _OFFERED)
    assert (needed.hosts, needed.too_large) == (2, 1)


def test_no_instances_need_no_hosts() -> None:
    assert hosts_needed(np.zeros((0, 98), np.float32), _OFFERED).hosts == 0


def test_a_host_can_be_emptied_when_the_others_have_room() -> None:
    instances = _instances(2, 2, host=[0, 0])
    pool = _pool(4, 3, 0)
    found = fits_elsewhere(pool, instances, [1])
    assert found.is_fit
    assert set(found.targets) == {"ins_0", "ins_1"}
    assert 1 not in found.targets.values()
    assert found.sentences[0] == ("2 instances are there and 2 of them fit onto 2 other hosts")
    assert found.sentences[2] == "memory: 4096 MiB wanted, 13312 MiB left on the others".replace(
        "13312 MiB", "13312"
    )


def test_a_host_cannot_be_emptied_when_the_others_are_full() -> None:
    instances = _instances(2, 2, host=[0, 0])
    found = fits_elsewhere(_pool(4, 5), instances, [1])
    assert not found.is_fit
    assert found.stranded == ("ins_1",)


def test_an_empty_host_can_always_be_emptied() -> None:
    assert fits_elsewhere(_pool(0, 5), _instances(), [1]).is_fit


def test_hosts_that_leave_together_do_not_take_each_others_instances() -> None:
    found = fits_elsewhere(_pool(2, 0, 0), _instances(2, host=[0]), [1, 2])
    assert found.targets == {"ins_0": 3}


def test_the_day_is_looked_at_hour_by_hour() -> None:
    """Shops of the morning and of the evening share a host that could not hold two of a kind."""
    day, night = flat(0, 1, 1), flat(0, 1, 1)
    day[CPU_MEAN][:12] = 3000
    night[CPU_MEAN][12:] = 3000
    views = [InstanceView(id=str(n), demand=row) for n, row in enumerate([day, night, day, night])]
    found = place_many(_pool(0, 0), Instances.of(views))
    assert sorted(found.tolist()) == [0, 0, 1, 1]
    assert found[0] != found[2]
