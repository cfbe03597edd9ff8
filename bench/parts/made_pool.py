"""A made-up pool for timing plans: hosts filled unevenly with instances that have daily shapes.

Sizes are drawn log-normally around what the reference shop uses; phases of the day evenly. The seed is
fixed, so every run plans the same pool.
"""

import numpy as np

from bench.research.sums import loads_by_host
from workers.scheduler.demand_vector import (
    CPU_MEAN,
    CPU_SWING,
    DEMAND_WIDTH,
    DISK,
    F32,
    HOURS,
    MEMORY,
)
from workers.scheduler.types import Instances, PoolView

OFFERED = (12_000.0, 24.0 * 1024**3, 400.0 * 1024**3, 0.0)
_SEED = 3


def demands(count: int, rng: np.random.Generator) -> F32:
    """count instances with a daily shape each."""
    found = np.zeros((count, DEMAND_WIDTH), np.float32)
    mean = rng.lognormal(3.0, 1.0, count)
    phase = rng.integers(0, HOURS, count)
    turn = (np.arange(HOURS) - phase[:, None]) * (2 * np.pi / HOURS)
    found[:, CPU_MEAN] = mean[:, None] * (1 + 0.6 * np.cos(turn))
    found[:, CPU_SWING] = found[:, CPU_MEAN]
    found[:, MEMORY] = rng.lognormal(17.5, 0.6, count)
    found[:, DISK] = rng.lognormal(18, 1.0, count)
    return found


def made_pool(hosts: int, count: int, *, placed: bool) -> tuple[PoolView, Instances]:
    """A pool and its instances, on hosts unevenly or all of them waiting for one."""
    rng = np.random.default_rng(_SEED)
    weights = rng.random(hosts) ** 0.7
    drawn = rng.choice(hosts, count, p=weights / weights.sum())
    host = drawn if placed else np.full(count, -1, np.int64)
    rows = demands(count, rng)
    pool = PoolView(
        ids=np.arange(1, hosts + 1),
        names=tuple(f"host-{number}" for number in range(1, hosts + 1)),
        is_open=np.ones(hosts, np.bool_),
        is_seen=np.ones(hosts, np.bool_),
        offered=np.tile(np.array(OFFERED), (hosts, 1)),
        load=np.asfortranarray(loads_by_host(rows, host, hosts)),
        busy=np.full((hosts, 2), -1.0, np.float32),
        starting=np.zeros(hosts, np.int64),
        instances=np.bincount(host[host >= 0], minlength=hosts),
        most_instances=np.full(hosts, 20_000),
    )
    instances = Instances(
        ids=tuple(f"ins_{number}" for number in range(count)),
        host=host,
        demands=rows,
        move_cost=rows[:, MEMORY].copy(),
        rested=np.full(count, np.inf, np.float32),
    )
    return pool, instances
