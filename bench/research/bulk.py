"""Packs many instances at once onto the hosts of a pool, by the straight line of
workers/scheduler/hosts_needed.py.

The product places many at once by the filters and limits of `place` (workers/scheduler/place_batch.py). This
is the fastest way that is known here, for instances that ask nothing of a host besides room.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.research.backfill import top_up
from bench.research.sums import loads_by_host
from bench.research.tangent_line import TangentLine
from bench.research.vector_bin_packing import TRIES, UNITS, Matrix, fill
from workers.scheduler.demand_vector import DEFAULT, DEMAND_WIDTH, Rules, as_load, refuse_no_amount
from workers.scheduler.filters import FILTERS
from workers.scheduler.host_evaluation import judge, limits
from workers.scheduler.rebalancing.plan_state import ProposedState, as_measured
from workers.scheduler.types import Instances, InstanceView, Ints, PoolView

# So many that the line refuses are looked at one by one.
_REST = 200


def pack_into(sizes: Matrix, free: Matrix) -> NDArray[np.intp]:
    """Items into given bins (a row each of what is free), filled in their order; -1 where none is left."""
    refuse_no_amount(sizes, "item")
    if np.isnan(free).any():  # below nothing is none left, and room without end is room
        refuse_no_amount(free, "bin")
    if not len(sizes) or not len(free):
        return np.full(len(sizes), -1, np.intp)
    most = np.maximum(free.max(axis=0), 0.0)
    wanted = (sizes > 0).any(axis=0)
    per = np.where(most > 0, UNITS / np.where(most > 0, most, 1.0), 0.0)[wanted]
    units = np.ceil(sizes[:, wanted] * per - 1e-6)
    units[:, per == 0] = np.where(sizes[:, wanted][:, per == 0] > 0, UNITS + 1, 0)
    rooms = np.floor(np.maximum(free[:, wanted], 0.0) * per + 1e-6).clip(0, UNITS)
    found = np.full(len(sizes), -1, np.intp)
    possible = np.flatnonzero((units <= UNITS).all(axis=1))
    if not wanted.any() or not len(possible):
        found[possible] = 0
        return found
    grid = units[possible].astype(np.int16)
    typical = np.maximum(rooms.max(axis=0), 1).astype(np.int16)
    found[possible] = fill(grid, typical, rooms.astype(np.int16), *TRIES[0])
    return found


class Filling(ProposedState):
    """The ledger of a plan that also takes instances which had no host."""

    def put(self, row: int, target: int) -> None:
        """An instance that had no host has one from now on."""
        self._load[target] += as_load(self._instances.demands[row])
        self._rows[target].append(row)
        self._counts[target] += 1
        self.at[row] = target
        self._look_again([target])


def place_many(pool: PoolView, instances: Instances, rules: Rules = DEFAULT) -> Ints:
    """Rows of hosts for the instances that have none (others keep theirs), -1 where nothing has room.

    Hosts in use are filled first, the fullest before all. What an instance asks of a host besides room
    (engine, labels, zones) is for place().
    """
    pool = as_measured(pool, rules)
    found = instances.host.copy()
    waiting = np.flatnonzero(found < 0)
    idle = InstanceView(id="", demand=np.zeros(DEMAND_WIDTH, np.float32))
    judged = judge(idle, pool, rules)
    takes = np.ones(len(pool), np.bool_)
    for one in FILTERS:
        takes &= ~one.refuses(judged)
    hosts = np.flatnonzero(takes)
    fullness = judged.fullness[hosts].max(axis=1) if len(hosts) else np.zeros(0)
    hosts = hosts[np.lexsort((pool.ids[hosts], -fullness))]
    if len(waiting) and len(hosts):
        line = TangentLine.touching(instances.demands[waiting], limits(pool, rules)[hosts], rules)
        free = line.free(pool.load[hosts], limits(pool, rules)[hosts], pool.offered[hosts])
        bins = pack_into(line.sizes(instances.demands[waiting]), free)
        most = limits(pool, rules)[hosts]
        most[pool.offered[hosts] <= 0] = np.inf
        bins = top_up(instances.demands[waiting], bins, pool.load[hosts], most, rules)
        found[waiting] = np.where(bins >= 0, hosts[bins], -1)
        _place_rest(pool, replace(instances, host=found), hosts, waiting, rules)
    return found


def _place_rest(
    pool: PoolView, instances: Instances, hosts: Ints, waiting: Ints, rules: Rules
) -> None:
    """What the straight line refuses, one by one by the true curve: few, and the largest first."""
    rest = waiting[instances.host[waiting] < 0]
    if not len(rest):
        return
    new = np.full(len(instances), -1, np.int64)
    new[waiting] = instances.host[waiting]
    placed = np.bincount(new[new >= 0], minlength=len(pool))
    now = replace(
        pool,
        load=pool.load + loads_by_host(instances.demands, new, len(pool)),
        instances=pool.instances + placed,
    )
    ledger = Filling(now, instances, rules)
    for i in np.argsort(-ledger.sizes(rest.tolist()), kind="stable")[:_REST].tolist():
        row = int(rest[i])
        target = ledger.best(row, hosts)
        if target >= 0:
            ledger.put(row, target)
            instances.host[row] = target
