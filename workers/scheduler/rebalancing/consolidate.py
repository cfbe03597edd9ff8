"""Changes places among a few hosts in use, so that no further one is opened and one less may do.

Relief and emptying (plan.py) move one instance at a time to a host with room. They end when no host
has room for the next one, although all together have plenty: one is short of memory, another of processor.
Here hosts that are too full give instances away or exchange them until all fit. All or nothing; moves are
bounded, and what moved lately stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from workers.scheduler.demand_vector import DEFAULT, F32, LOAD_WIDTH, Rules, as_load
from workers.scheduler.host_evaluation import limits as limits_of
from workers.scheduler.profiles.history import HISTORY_WIDTH, expected
from workers.scheduler.rebalancing.level import Cost, Levelling
from workers.scheduler.rebalancing.plan import (
    PlannedMove,
    RebalanceLimits,
    RebalanceProposal,
    free_to_move,
)
from workers.scheduler.rebalancing.usage_model import UsageModel, together
from workers.scheduler.types import F64, Bools, Instances, Ints, PoolView

# Hosts that take part at once: every instance is tried on each of them.
MOST_HOSTS = 24
# Hosts that may turn out not to be emptied before a round gives up.
_TRIES = 4
# A limit that is always passed; one of nothing would not be counted.
_NOTHING = 1e-3


def settle(
    pool: PoolView, instances: Instances, limits: RebalanceLimits, rules: Rules = DEFAULT
) -> RebalanceProposal:
    """Moves after which none of the hosts is too full, without another one; instances: all on these hosts."""
    group = _Group.of(pool, instances, free_to_move(pool, instances, limits, rules), rules)
    after = group.fitted(limits.relieved_at, limits.moves)
    return (
        RebalanceProposal()
        if after is None
        else RebalanceProposal(group.moves(after, "is expected above its limits", {}))
    )


def consolidate(
    pool: PoolView, instances: Instances, limits: RebalanceLimits, rules: Rules = DEFAULT
) -> RebalanceProposal:
    """Moves that empty one of the hosts, the emptiest that can be; instances: all on these hosts."""
    group = _Group.of(pool, instances, instances.rested >= limits.rest_seconds, rules)
    for source in group.candidates(limits.fill_to):
        after = group.without(source, limits.fill_to, limits.moves)
        if after is not None:
            host = int(group.rows[source])
            why = {host: "can be emptied"}
            moves = group.moves(
                after, f"makes room, so that {pool.names[host]} can be emptied", why
            )
            return RebalanceProposal(moves, (int(pool.ids[host]),))
    return RebalanceProposal()


@dataclass(slots=True)
class _Group:
    """Hosts that take part, and what is on them. rows: of the pool; before: per instance a place in rows."""

    pool: PoolView
    instances: Instances
    rows: Ints
    gauge: UsageModel
    sums: F32
    most: F64
    before: Ints
    is_free: Bools

    @classmethod
    def of(cls, pool: PoolView, instances: Instances, is_free: Bools, rules: Rules) -> "_Group":
        rows = np.flatnonzero(_takes_part(pool, instances, rules))
        at = np.full(len(pool), -1, np.int64)
        at[rows] = np.arange(len(rows))
        before = np.where(instances.host >= 0, at[instances.host], -1)
        sums = pool.load[rows]
        if instances.beyond is not None:
            beyond = np.zeros((len(pool), HISTORY_WIDTH)) if pool.beyond is None else pool.beyond
            sums = np.concatenate([sums, beyond[rows]], axis=1)
        return cls(
            pool=pool,
            instances=instances,
            rows=rows,
            gauge=gauge_of(instances, rules),
            sums=np.ascontiguousarray(sums, np.float32),
            most=limits_of(pool, rules)[rows],
            before=before,
            is_free=is_free & (before >= 0),
        )

    def candidates(self, fill: float) -> Iterator[int]:
        """Hosts that all others together could replace, the emptiest first."""
        used = self.gauge.shares(self.sums, self.most * fill)
        room = np.maximum(1.0 - used, 0.0)
        tries = 0
        for source in np.argsort(used.max(axis=1, initial=0.0), kind="stable").tolist():
            others = np.arange(len(self.rows)) != source
            # Memory and disk add up as they are; a processor is shared better than the sum of peaks.
            if (room[others, 1:3].sum(axis=0) < used[source, 1:3]).any():
                continue
            if not self.is_free[self.before == source].all():
                continue
            yield source
            tries += 1
            if tries >= _TRIES:
                return

    def without(self, source: int, fill: float, moves: int) -> Ints | None:
        """Return where everything would be without the host; None when that does not fit."""
        state = self._state(fill)
        leaving = np.flatnonzero(self.before == source)
        if len(leaving) > moves:
            return None
        sizes = self.gauge.shares(self.gauge.rows[leaving], self.most[source]).max(axis=1)
        for row in leaving[np.argsort(-np.round(sizes, 6), kind="stable")].tolist():
            after = self.gauge.shares(state.sums + self.gauge.rows[row], state.limits).max(axis=1)
            after[source] = np.inf
            state.put(row, int(np.argmin(after)))
        state.limits[source] = np.where(self.most[source] > 0, _NOTHING, 0.0)
        state.sums[source] = 0.0
        found = self._relieved(state, moves, state.fullness)
        return None if found is None or (found == source).any() else found

    def fitted(self, fill: float, moves: int) -> Ints | None:
        """Return where everything would be with no host above its limits; None when that cannot be had."""
        if len(self.rows) < 2:
            return None
        # Whoever must leave goes where it strains least: a host full of what idles today is the next one to
        # be relieved, and those who moved rest then.
        state = self._state(fill)
        return self._relieved(state, moves, state.strain)

    def _state(self, fill: float) -> Levelling:
        state = Levelling(self.gauge, self.most * fill)
        state.sums, state.hosts, state.is_free = self.sums.copy(), self.before.copy(), self.is_free
        return state

    def _relieved(self, state: Levelling, moves: int, cost: Cost) -> Ints | None:
        while state.fullness(state.sums, state.limits).max() > 1e-6:
            if not state.relieve(cost):
                return None
            if np.count_nonzero(state.hosts != self.before) > moves:
                return None
        return state.hosts

    def moves(self, after: Ints, reason: str, reasons: dict[int, str]) -> tuple[PlannedMove, ...]:
        """Who makes room goes first. reasons: by row of the pool, where it is another one."""
        moved = np.flatnonzero(after != self.before)
        sources = self.rows[self.before[moved]]
        last = np.isin(sources, list(reasons))
        names, ids = self.pool.names, self.pool.ids
        found = []
        for row in moved[np.argsort(last, kind="stable")].tolist():
            source, target = int(self.rows[self.before[row]]), int(self.rows[after[row]])
            why = f"{names[source]} {reasons.get(source, reason)}; {names[target]} takes it"
            gain = round(1.0 / len(moved), 4)
            found.append(
                PlannedMove(self.instances.ids[row], int(ids[source]), int(ids[target]), why, gain)
            )
        return tuple(found)


def gauge_of(instances: Instances, rules: Rules = DEFAULT) -> UsageModel:
    """By daily shapes and recorded weeks, as a host is judged."""
    loads = as_load(instances.demands)
    if instances.beyond is None:
        read = partial(expected, difference=None, rules=rules)
        return UsageModel(loads, read, partial(together, rules=rules))
    rows = np.concatenate([loads, instances.beyond], axis=1)
    return UsageModel(rows, partial(_read, rules=rules), partial(_strain, rules=rules))


def _read(summed: F32, rules: Rules) -> F32:
    return expected(summed[..., :LOAD_WIDTH], summed[..., LOAD_WIDTH:], rules)


def _strain(summed: F32, rules: Rules) -> F32:
    return together(summed[..., :LOAD_WIDTH], rules)


def _takes_part(pool: PoolView, instances: Instances, rules: Rules) -> Bools:
    """Open hosts in use of which the instances are known."""
    part = pool.is_open & pool.is_seen & (pool.instances > 0)
    part &= pool.busy[:, 1] <= rules.busy_share
    part[list(pool.disk_trouble)] = False
    here = np.bincount(instances.host[instances.host >= 0], minlength=len(pool))
    part &= here == pool.instances
    return part
