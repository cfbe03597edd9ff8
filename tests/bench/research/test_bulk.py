"""Packing a pool in bulk keeps to every limit, and leaves nobody out who fits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.parts.made_pool import made_pool
from bench.research.bulk import Filling, pack_into, place_many
from bench.research.sums import loads_by_host
from bench.research.vector_bin_packing import Matrix
from workers.scheduler.demand_vector import CPU_MEAN, CPU_SWING, DEFAULT, flat, highs
from workers.scheduler.host_evaluation import limits
from workers.scheduler.types import HostView, Instances, InstanceView, PoolView, Resources

_GIB = 1024**3
_OFFERED = Resources(cpu_millis=4000, memory_bytes=8 * _GIB, disk_bytes=100 * _GIB)
_amounts = st.integers(0, 100)


@st.composite
def _items(draw: st.DrawFn) -> Matrix:
    dimensions = draw(st.integers(1, 6))
    rows = draw(
        st.lists(
            st.lists(_amounts, min_size=dimensions, max_size=dimensions), min_size=1, max_size=60
        )
    )
    return np.array(rows, np.float64)


def _loads(sizes: Matrix, bin_of: np.ndarray, bins: int) -> Matrix:
    loads = np.zeros((bins, sizes.shape[1]))
    np.add.at(loads, bin_of, sizes)
    return loads


@settings(max_examples=100, deadline=None)
@given(_items(), st.lists(st.integers(0, 250), min_size=1, max_size=8))
def test_given_bins_take_no_more_than_they_have_and_nothing_that_fits_stays_out(
    sizes: Matrix, rooms: list[int]
) -> None:
    free = np.repeat(np.array(rooms, np.float64)[:, None], sizes.shape[1], axis=1)
    bin_of = pack_into(sizes, free)
    placed = bin_of >= 0
    left = free - _loads(sizes[placed], bin_of[placed], len(free))
    assert (left >= -1e-6).all()
    for item in sizes[~placed]:  # a part in 32,760 may be lost to rounding, for each item of a bin
        assert not (left - len(sizes) * free.max() / 32_000 >= item).all(axis=1).any()


def test_given_bins_are_filled_in_their_order() -> None:
    sizes = np.array([[5.0], [5.0], [5.0]])
    assert pack_into(sizes, np.array([[10.0], [100.0]])).tolist() == [0, 0, 1]


def test_an_item_that_fits_nowhere_is_left_out() -> None:
    sizes = np.array([[5.0, 1.0], [50.0, 1.0]])
    assert pack_into(sizes, np.array([[10.0, 10.0]])).tolist() == [0, -1]
    assert pack_into(sizes, np.zeros((0, 2))).tolist() == [-1, -1]


def test_a_resource_that_no_bin_has_keeps_out_who_wants_it() -> None:
    sizes = np.array([[5.0, 0.0], [5.0, 1.0]])
    assert pack_into(sizes, np.array([[10.0, 0.0]])).tolist() == [0, -1]


@pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf])
def test_what_is_no_amount_is_refused_and_named(amount: float) -> None:
    wrong = np.array([[1.0, 1.0], [1.0, amount]])
    with pytest.raises(ValueError, match=r"item 1 has .* in column 1"):
        pack_into(wrong, np.full((1, 2), 10.0))


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
    reached = highs(loads_by_host(waiting.demands, found, hosts))
    assert (reached[:, :3] <= limits(pool)[:, :3] * (1 + 1e-5)).all()
    assert (found == place_many(pool, waiting)).all()


def test_a_bulk_needs_no_more_hosts_than_placing_one_by_one() -> None:
    pool, waiting = made_pool(20, 1000, placed=False)
    ledger = Filling(pool, waiting, DEFAULT)
    for row in np.argsort(-ledger.sizes(range(1000)), kind="stable").tolist():
        ledger.put(row, ledger.best(row, np.arange(20)))
    assert len(np.unique(place_many(pool, waiting))) <= int(ledger.in_use().sum())


def test_an_instance_that_fits_alone_by_the_true_curve_has_its_host() -> None:
    """The straight line is made for hosts full of small ones and lies far above one that swings much."""
    rows = np.stack([flat(50, 64 * 1024**2, 0)] * 300)
    rows[:, CPU_SWING] = 100
    rows[0, CPU_SWING] = (4000 * 0.9 - 60) / DEFAULT.z
    views = [InstanceView(id=str(number), demand=row) for number, row in enumerate(rows)]
    found = place_many(_pool(*[0] * 40), Instances.of(views))
    assert (found >= 0).all()
    assert highs(loads_by_host(rows, found, 40))[:, 0].max() <= 4000 * DEFAULT.shares[0] * (
        1 + 1e-6
    )


def test_the_day_is_looked_at_hour_by_hour() -> None:
    """Shops of the morning and of the evening share a host that could not hold two of a kind."""
    day, night = flat(0, 1, 1), flat(0, 1, 1)
    day[CPU_MEAN][:12] = 3000
    night[CPU_MEAN][12:] = 3000
    views = [InstanceView(id=str(n), demand=row) for n, row in enumerate([day, night, day, night])]
    found = place_many(_pool(0, 0), Instances.of(views))
    assert sorted(found.tolist()) == [0, 0, 1, 1]
    assert found[0] != found[2]
