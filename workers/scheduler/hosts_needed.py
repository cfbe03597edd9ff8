"""How many hosts of one size a number of instances takes: as many as the same placing fills."""

import math
from dataclasses import dataclass

import numpy as np

from workers.scheduler.demand_vector import (
    CPU,
    CPU_MEAN,
    DEFAULT,
    DISK,
    F32,
    MEMORY,
    NET_MEAN,
    RESOURCES,
    Rules,
    as_load,
    highs,
)
from workers.scheduler.host_evaluation import limits
from workers.scheduler.place_batch import place_all
from workers.scheduler.types import F64, HostView, InstanceView, PoolView, Resources

# Of more instances than this an even sample is placed, and its hosts are multiplied.
_SAMPLE = 4_000


@dataclass(frozen=True, slots=True)
class Needed:
    """hosts: how many of one size hold all. least: no placing can need fewer. scarce: what decides.
    too_large: instances that no host of this size can hold; each is counted as a whole host."""

    hosts: int
    least: int
    scarce: str
    too_large: int = 0


def hosts_needed(demands: F32, offered: Resources, rules: Rules = DEFAULT) -> Needed:
    """Return how many hosts that offer this hold all demands, placed together by `place_all`."""
    if not len(demands):
        return Needed(0, 0, RESOURCES[CPU])
    most = limits(_empty(1, offered), rules)[0]
    most = np.where(np.arange(len(most)) < 3, most, np.where(most > 0, most, np.inf))
    fits = (highs(as_load(demands), rules) <= most).all(axis=1)
    too_large = len(demands) - int(fits.sum())
    if too_large:
        rest = hosts_needed(demands[fits], offered, rules)
        return Needed(rest.hosts + too_large, rest.least + too_large, rest.scarce, too_large)
    shares = np.divide(_means(demands), most, where=most > 0, out=np.zeros(len(most)))
    least = max(1, math.ceil(float(shares.max()) - 1e-9))
    step = max(1, math.ceil(len(demands) / _SAMPLE))
    sample = demands[np.argsort(-demands[:, MEMORY], kind="stable")[::step]]
    used = _filled(sample, offered, math.ceil(least / step), rules)
    hosts = math.ceil(used * len(demands) / len(sample))
    return Needed(max(hosts, least), least, RESOURCES[int(shares.argmax())])


def _filled(sample: F32, offered: Resources, least: int, rules: Rules) -> int:
    """Hosts that placing uses when there are more than enough; best fit opens no second one too early."""
    views = [InstanceView(id=str(row), demand=demand) for row, demand in enumerate(sample)]
    count = 2 * least + 2
    while True:
        placed = place_all(views, _empty(count, offered), rules)
        if not placed.left or count >= len(views):
            return len(set(placed.host_ids) - {0}) + placed.left
        count = min(2 * count, len(views))


def _empty(count: int, offered: Resources) -> PoolView:
    return PoolView.of(
        [
            HostView(id=n + 1, name=f"new-{n + 1}", is_open=True, is_seen=True, offered=offered)
            for n in range(count)
        ]
    )


def _means(demands: F32) -> F64:
    """[4]: what all of them use together in the busiest hour, without any margin."""
    return np.array(
        [
            demands[:, CPU_MEAN].sum(axis=0, dtype=np.float64).max(),
            demands[:, MEMORY].sum(dtype=np.float64),
            demands[:, DISK].sum(dtype=np.float64),
            demands[:, NET_MEAN].sum(axis=0, dtype=np.float64).max(),
        ]
    )
