import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.parts.vector_instances import dot_product, instances
from bench.research.vector_bin_packing import Matrix, pack
from workers.scheduler.demand_vector import LOAD_WIDTH, flat
from workers.scheduler.types import HostView, Instances, InstanceView, PoolView, Resources

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


def _loads(sizes: Matrix, bin_of: "tuple[int, ...] | np.ndarray", bins: int) -> Matrix:
    loads = np.zeros((bins, sizes.shape[1]))
    np.add.at(loads, np.asarray(bin_of, np.int64), sizes)
    return loads


@settings(max_examples=150, deadline=None)
@given(_items())
def test_every_item_is_packed_and_no_bin_is_overfull(sizes: Matrix) -> None:
    capacity = np.full(sizes.shape[1], 100.0)
    packed = pack(sizes, capacity)
    assert set(packed.bin_of) == set(range(packed.bins))
    assert (_loads(sizes, packed.bin_of, packed.bins) <= capacity).all()
    assert packed.least <= packed.bins <= len(sizes)


@settings(max_examples=60, deadline=None)
@given(_items(), st.floats(0.37, 7e9))
def test_sizes_that_are_no_whole_numbers_never_overfill_a_bin(sizes: Matrix, factor: float) -> None:
    capacity = np.full(sizes.shape[1], 100.0) * factor
    packed = pack(sizes * factor, capacity)
    assert (_loads(sizes * factor, packed.bin_of, packed.bins) <= capacity * (1 + 1e-9)).all()


@settings(max_examples=40, deadline=None)
@given(_items())
def test_the_same_items_are_packed_the_same_way(sizes: Matrix) -> None:
    capacity = np.full(sizes.shape[1], 120.0)
    assert pack(sizes, capacity) == pack(sizes.copy(), capacity.copy())


def test_an_item_larger_than_a_bin_is_named() -> None:
    with pytest.raises(ValueError, match="item 1 needs 120 of resource 0 and a bin holds 100"):
        pack(np.array([[1.0], [120.0]]), np.array([100.0]))


def test_nothing_needs_no_bin_and_items_without_size_need_one() -> None:
    assert pack(np.zeros((0, 3)), np.ones(3)).bins == 0
    assert pack(np.zeros((4, 3)), np.ones(3)).bins == 1


def test_halves_are_paired_exactly() -> None:
    assert pack(np.full((10, 2), 50.0), np.full(2, 100.0)).bins == 5


def test_published_instances_need_fewer_bins_than_the_best_simple_heuristic() -> None:
    every = instances()[::36]
    ours = sum(pack(one.sizes, one.capacity).bins for one in every)
    assert ours < 0.98 * sum(dot_product(one) for one in every)


@pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_amount_is_refused_and_named_at_every_entry(amount: float) -> None:
    """With one of these `pack` never returned."""
    wrong = np.array([[1.0, 1.0], [1.0, amount]])
    with pytest.raises(ValueError, match=r"item 1 has .* in column 1"):
        pack(wrong, np.full(2, 10.0))
    with pytest.raises(ValueError, match=r"bin 0 has .* in column 1"):
        pack(np.ones((2, 2)), wrong[1])
    demand = flat(1.0, 1.0, 1.0)
    demand[3] = amount
    with pytest.raises(ValueError, match="the demand of ins_1"):
        InstanceView("ins_1", demand)
    many = Instances.of([InstanceView("ins_1", flat(1.0, 1.0, 1.0))])
    with pytest.raises(ValueError, match="the demand of instance 0"):
        dataclasses.replace(many, demands=demand[None, :])
    if not math.isfinite(amount):
        load = np.full(LOAD_WIDTH, amount, np.float32)
        host = HostView(1, "h1", True, True, Resources(1, 1, 1), load=load)
        with pytest.raises(ValueError, match="host h1: load"):
            PoolView.of([host])
