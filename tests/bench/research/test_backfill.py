"""Hosts packed by a rough measure are filled to their true limits."""

import numpy as np

from bench.research.backfill import top_up
from workers.scheduler.demand_vector import DEFAULT, flat


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
