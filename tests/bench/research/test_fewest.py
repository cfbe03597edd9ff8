"""The fewest hosts and evening out: everybody is somewhere, and nothing is beyond a limit for nothing."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.research.fewest import fewest, level, measured
from bench.research.weeks import HISTORY_WIDTH, MEANS
from workers.scheduler.demand_vector import F32, flat
from workers.scheduler.rebalancing.usage_model import UsageModel

LIMITS = np.tile([100.0, 100.0], (20, 1))


def gauge(rows: Sequence[tuple[float, float]]) -> UsageModel:
    """Processor and memory that simply add up."""
    return UsageModel(
        np.array(rows, np.float32).reshape(-1, 2), lambda sums: sums, lambda sums: sums[..., 0]
    )


def test_what_cannot_be_shared_decides_how_many_hosts_and_the_rest_is_even() -> None:
    found = fewest(gauge([(10, 30)] * 3 + [(2, 30)] * 3), LIMITS)
    assert found.fits
    assert len(found.shares) == 2
    assert np.ptp(found.shares[:, 0]) <= 0.1


def test_a_swap_helps_where_no_move_can() -> None:
    # Memory is full on both: only an exchange evens the processor out.
    rows = [(30.0, 50.0), (30.0, 50.0), (2.0, 50.0), (2.0, 50.0)]
    found = level(gauge(rows), LIMITS[:2])
    assert found.fits
    assert found.shares[:, 0].max() <= 0.33


def test_when_not_even_all_hosts_suffice_that_is_said() -> None:
    assert not fewest(gauge([(60, 60)] * 5), LIMITS[:3]).fits


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=1, max_size=40))
def test_everybody_is_on_a_host_and_shares_are_true(rows: list[tuple[float, float]]) -> None:
    mine = gauge(rows)
    found = fewest(mine, np.tile([100.0, 100.0], (40, 1)))
    assert found.hosts.min() >= 0
    assert found.fits
    sums = np.zeros((len(found.shares), 2))
    np.add.at(sums, found.hosts, mine.rows)
    assert np.allclose(sums / 100, found.shares, atol=1e-3)
    assert len(found.shares) >= np.ceil(np.array(rows).sum(axis=0).max() / 100 - 1e-3)


def test_instances_with_tall_peaks_of_their_own_are_kept_apart() -> None:
    """Four that burst at different hours so far: their sum is low, and yet they get a host each."""
    histories = np.zeros((8, HISTORY_WIDTH), np.float32)
    for row in range(4):
        histories[row, MEANS][row * 7] = 900
    demands: F32 = np.stack([flat(1, 10, 0)] * 8)
    limits = np.tile([1000.0, 100.0, 0.0, 0.0], (4, 1))
    found = level(measured(demands, histories), limits)
    assert sorted(found.hosts[:4].tolist()) == [0, 1, 2, 3]
