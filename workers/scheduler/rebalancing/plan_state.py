"""A pool while a plan is made: what every host carries after the moves planned so far, and what would fit.

Judged by the very filters and scorers that place one instance, so that a plan never undoes what placing
did. The arrays that came in are not written to.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from workers.scheduler.demand_vector import DISK, DSK, F32, MEM, MEMORY, NET, Rules, as_load, highs
from workers.scheduler.filters import FILTERS
from workers.scheduler.host_evaluation import judge, limits
from workers.scheduler.profiles.history import expected
from workers.scheduler.scorers import SCORERS
from workers.scheduler.types import F64, Bools, Instances, InstanceView, Ints, PoolView

# A host whose memory is above the share at which nothing new goes there is this far above its limits.
_BUSY_IS_HOT = 1.1
# Hosts that are judged together when more could take an instance.
_SHORT_LIST = 256
_WEIGHTS = np.array([weight for _, _, weight in SCORERS])


class ProposedState:
    """Rows are those of the pool and of the instances given."""

    def __init__(self, pool: PoolView, instances: Instances, rules: Rules) -> None:
        self._instances, self._rules = instances, rules
        self._load = np.array(pool.load, np.float32, order="F")
        self._beyond = None if pool.beyond is None else pool.beyond.copy()
        self._counts = pool.instances.copy()
        self.pool = replace(
            as_measured(pool, rules), load=self._load, beyond=self._beyond, instances=self._counts
        )
        self.at: Ints = instances.host.copy()
        self._limits = limits(self.pool, rules)
        self._fullness = self._share_of_limits(self._expected(slice(None)), self._limits)
        order = np.argsort(instances.host, kind="stable")
        first = np.searchsorted(instances.host[order], np.arange(len(pool) + 1))
        self._rows = [order[a:b].tolist() for a, b in pairwise(first)]

    def rows_on(self, host: int) -> list[int]:
        """Return the instances on a host now, in the order of their rows."""
        return sorted(self._rows[host])

    def in_use(self) -> Bools:
        """Hosts that carry anything."""
        carries: Bools = np.array([bool(rows) for rows in self._rows]) | (self._counts > 0)
        return carries

    def fullness(self, hosts: Ints | None = None) -> F64:
        """Of these hosts (all without): the share of the scarcest resource's limit expected at most."""
        found: F64 = self._fullness.copy() if hosts is None else self._fullness[hosts]
        return found

    def _look_again(self, hosts: Sequence[int]) -> None:
        rows = list(hosts)
        self._fullness[rows] = self._share_of_limits(self._expected(rows), self._limits[rows])

    def _expected(self, hosts: "Ints | Sequence[int] | slice") -> F32:
        beyond = None if self._beyond is None else self._beyond[hosts]
        return expected(self._load[hosts], beyond, self._rules)

    def fullness_without(self, host: int, rows: Sequence[int]) -> F64:
        """Of one host, without each of these instances in turn."""
        rest = self._load[host] - as_load(self._instances.demands[list(rows)])
        beyond = None
        if self._beyond is not None:
            beyond = np.repeat(self._beyond[host][None, :], len(rows), axis=0)
            if self._instances.beyond is not None:
                beyond -= self._instances.beyond[list(rows)]
        most = expected(rest, beyond, self._rules)
        return self._share_of_limits(most, self._limits[host][None, :])

    def sizes(self, rows: Sequence[int]) -> F64:
        """Return how large instances are, in shares of the pool's mean limits: the scarcest resource each."""
        mean = np.maximum(self._limits.mean(axis=0), 1e-9)
        alone = highs(as_load(self._instances.demands[list(rows)]), self._rules)
        return self._share_of_limits(alone, mean[None, :])

    def spare(self, hosts: Ints, fill: float) -> F64:
        """[4]: what these hosts have left up to a share of their limits, all together."""
        rest = self._limits[hosts] * fill - self._expected(hosts)
        total: F64 = np.maximum(rest, 0.0).sum(axis=0)
        return total

    def least_needed(self, host: int) -> F64:
        """[4]: what moving a host's load elsewhere takes at the very least: its means."""
        calm = replace(self._rules, overload_chance=0.5)
        needed: F64 = highs(self._load[host], calm).astype(np.float64)
        needed[NET] = 0.0  # not counted on every host
        return needed

    def best(self, row: int, hosts: Ints, fill: float = 1.0) -> int:
        """Return the host of these where placing would put the instance, filled to no more than a share of
        its limits; -1 when none of them takes it.
        """
        view = self._view(row)
        alone = self._instances.demands[row]
        limit = self._limits[hosts] * fill
        may = (self._fullness[hosts] <= fill) & (
            (self._load[hosts, MEMORY] + alone[MEMORY] <= limit[:, MEM])
            & (self._load[hosts, DISK] + alone[DISK] <= limit[:, DSK])
        )
        hosts = hosts[may]
        if len(hosts) > _SHORT_LIST:
            # Fullness outweighs the rest by far, so the best is among the fullest, if one of them takes it.
            order = np.lexsort((self.pool.ids[hosts], -self._fullness[hosts]))
            found = self._best(view, np.sort(hosts[order[:_SHORT_LIST]]), fill)
            if found >= 0:
                return found
            hosts = np.sort(hosts[order[_SHORT_LIST:]])
        return self._best(view, hosts, fill) if len(hosts) else -1

    def _best(self, view: InstanceView, hosts: Ints, fill: float) -> int:
        shares = self._rules.shares
        rules = replace(
            self._rules,
            shares=(shares[0] * fill, shares[1] * fill, shares[2] * fill, shares[3] * fill),
        )
        pool = _take(self.pool, hosts)
        judged = judge(view, pool, rules).with_weeks(np.arange(len(pool)))
        takes = np.ones(len(pool), np.bool_)
        for look in FILTERS:
            takes &= ~look.refuses(judged)
        if not takes.any():
            return -1
        scores = _WEIGHTS @ np.stack([score(judged) for _, score, _ in SCORERS])
        # Rounded and by id, as placing does.
        order = np.lexsort((pool.ids, -np.round(scores / _WEIGHTS.sum(), 6), ~takes))
        return int(hosts[order[0]])

    def move(self, row: int, target: int) -> None:
        """The instance is on another host from now on."""
        source = int(self.at[row])
        load = as_load(self._instances.demands[row])
        self._load[source] -= load
        self._load[target] += load
        if self._beyond is not None and self._instances.beyond is not None:
            self._beyond[source] -= self._instances.beyond[row]
            self._beyond[target] += self._instances.beyond[row]
        self._rows[source].remove(row)
        self._rows[target].append(row)
        self._counts[source] -= 1
        self._counts[target] += 1
        self.at[row] = target
        self._look_again([source, target])

    def loads(self, hosts: Sequence[int]) -> F32:
        """Return a copy, for put_back."""
        return self._load[list(hosts)].copy()

    def put_back(self, moves: Sequence[tuple[int, int]], hosts: Sequence[int], loads: F32) -> None:
        """Undo moves (instance, source), last first, and leave no trace of rounding."""
        for row, source in reversed(moves):
            self.move(row, source)
        self._load[list(hosts)] = loads
        self._look_again(hosts)

    def _share_of_limits(self, most: F32, limit: F64) -> F64:
        shares = np.divide(most, limit, where=limit > 0, out=np.where(most > 0, np.inf, 0.0))
        shares[..., NET] = np.where(limit[..., NET] > 0, shares[..., NET], 0.0)
        scarcest: F64 = shares.max(axis=-1)
        return scarcest

    def _view(self, row: int) -> InstanceView:
        return InstanceView(
            id=self._instances.ids[row],
            demand=self._instances.demands[row],
            beyond=None if self._instances.beyond is None else self._instances.beyond[row],
        )


def as_measured(pool: PoolView, rules: Rules) -> PoolView:
    """Return the pool with less memory of each host whose memory is fuller just now than it may be.

    Such a host is hot, whatever was expected; a busy processor passes.
    """
    memory = pool.load[:, MEMORY].astype(np.float64)
    offered = pool.offered.copy()
    full = pool.busy[:, 1] / rules.busy_share
    most = pool.offered[:, MEM] * rules.shares[MEM]
    part = memory / np.maximum(full * _BUSY_IS_HOT * most, 1e-9)
    offered[:, MEM] *= np.where(full > 1, np.minimum(part, 1.0), 1.0)
    return replace(pool, offered=offered)


def _take(pool: PoolView, rows: Ints) -> PoolView:
    """Return the same pool with these hosts only."""
    troubles = pool.disk_trouble
    wanted = {row: place for place, row in enumerate(rows.tolist())} if troubles else {}
    return replace(
        pool,
        ids=pool.ids[rows],
        names=("",) * len(rows),  # nobody reads them here
        is_open=pool.is_open[rows],
        is_seen=pool.is_seen[rows],
        offered=pool.offered[rows],
        load=pool.load[rows],
        beyond=None if pool.beyond is None else pool.beyond[rows],
        busy=pool.busy[rows],
        starting=pool.starting[rows],
        instances=pool.instances[rows],
        most_instances=pool.most_instances[rows],
        disk_trouble={wanted[r]: text for r, text in pool.disk_trouble.items() if r in wanted},
    )
