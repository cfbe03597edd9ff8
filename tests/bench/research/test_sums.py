"""Sums by host are those of the instances that are there."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.research.sums import histories_by_host, loads_by_host
from bench.research.weeks import HISTORY_WIDTH
from workers.scheduler.demand_vector import DEMAND_WIDTH, LOAD_WIDTH, as_load


@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 2**31))
def test_loads_by_host_are_the_sums_of_who_is_there(count: int, hosts: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    rows = dice.gamma(2, 10, (count, DEMAND_WIDTH)).astype(np.float32)
    at = dice.integers(-1, hosts, count)
    found = loads_by_host(rows, at, hosts)
    own = histories_by_host(rows[:, :1].repeat(HISTORY_WIDTH, axis=1), at, hosts)
    assert found.shape == (hosts, LOAD_WIDTH)
    for host in range(hosts):
        mine = rows[at == host]
        assert np.allclose(found[host], as_load(mine).sum(axis=0), rtol=1e-4)
        assert np.allclose(own[host], mine[:, 0].sum(), rtol=1e-4)
