"""Moves that make a pool better: hosts above their limits relieved, cold hosts emptied when it pays.

Relief first, with the fewest and cheapest moves. Then hosts that carry little are emptied, all or
nothing, only onto hosts in use that are worth more to keep. Placing fills hosts up to their limits; a
host is hot only some way above them, and emptying fills others only to some way below: between the two
nothing moves. What is planned is planned to the end: once it is carried out, planning again finds
nothing. A plan is a value; who carries it out looks at every move again when its turn comes.
"""

from dataclasses import dataclass, field

import numpy as np

from workers.scheduler.demand_vector import CPU, DEFAULT, MEM, Rules
from workers.scheduler.host_evaluation import limits as limits_of
from workers.scheduler.profiles.history import expected
from workers.scheduler.rebalancing.plan_state import ProposedState
from workers.scheduler.types import F64, Bools, Instances, Ints, PoolView

_GIB = 1024**3
# Rounds of relief and emptying; each but the last makes a move, and most plans take two.
_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class RebalanceLimits:
    """How far a plan may go.

    moves: in one plan. rest_seconds: an instance placed or moved more recently stays, unless its host is in
    danger (`free_to_move`). cooldown_seconds: one placed or moved more recently stays even then. hot_above
    and relieved_at: shares of a host's limits above which it is relieved, and down to which. cold_below: a
    host whose scarcest resource is used less than this may be emptied; fill_to: up to which share of
    their limits others are filled for it. What moves for it rests for a week, and by then what is booked
    of memory in all may have risen by a tenth. most_per_source, most_per_target: moves from and to one host
    in one plan. bytes_per_host: what may be copied to empty one host. failures: hosts that may turn out
    not to be emptied before a plan gives up looking.
    """

    moves: int = 200
    cooldown_seconds: float = 6 * 3600.0
    rest_seconds: float = 7 * 24 * 3600.0
    hot_above: float = 1.05
    relieved_at: float = 1.0
    cold_below: float = 0.5
    fill_to: float = 0.9
    most_per_source: int = 256
    most_per_target: int = 64
    bytes_per_host: float = 64.0 * _GIB
    failures: int = 50


def free_to_move(
    pool: PoolView, instances: Instances, limits: RebalanceLimits, rules: Rules = DEFAULT
) -> Bools:
    """Return which instances a plan may move: those that rested, and those of hosts in danger after a short
    while.

    A host is in danger when it is expected to want more than it has. One that is only fuller than may be
    planned with has its headroom still: no shop is moved a second time in a week for that.
    """
    used = expected(pool.load, pool.beyond, rules)
    most = np.maximum(pool.offered, limits_of(pool, rules) * limits.hot_above)
    in_danger: Bools = np.asarray(((used > most) & (pool.offered > 0)).any(axis=1))
    rested: Bools = instances.rested >= limits.rest_seconds
    if not len(in_danger):
        return rested
    return rested | (
        (instances.rested >= limits.cooldown_seconds)
        & (instances.host >= 0)
        & in_danger[instances.host]
    )


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """instance to another host; source and target are ids of hosts. gain: in hosts relieved or freed."""

    instance: str
    source: int
    target: int
    reason: str
    gain: float


@dataclass(frozen=True, slots=True)
class RebalanceProposal:
    """moves in the order to be made; emptied: ids of hosts that carry nothing afterwards; notes: what
    could not be done, as sentences."""

    moves: tuple[PlannedMove, ...] = ()
    emptied: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def plan(
    pool: PoolView,
    instances: Instances,
    limits: RebalanceLimits = RebalanceLimits(),
    rules: Rules = DEFAULT,
    *,
    host_costs: F64 | None = None,
) -> RebalanceProposal:
    """Return the moves worth making now. host_costs: of each host for an hour; without, hosts cost what they
    offer, so that the emptiest goes first."""
    if not len(pool) or not len(instances):
        return RebalanceProposal()
    state = ProposedState(pool, instances, rules)
    planner = _Planner(pool, instances, limits, state, free_to_move(pool, instances, limits, rules))
    costs = _relative_costs(pool, host_costs)
    notes: list[str] = []
    for _ in range(_ROUNDS):
        made = planner.made
        notes = planner.relieve()
        if not planner.wants_room:  # then there is none to give away
            planner.empty(costs)
        if planner.made == made:
            break
    return planner.result(notes)


def _relative_costs(pool: PoolView, host_costs: F64 | None) -> F64:
    """Of each host for what it offers; equal for all when nothing is said."""
    if host_costs is None:
        return np.zeros(len(pool))
    whole = np.maximum(pool.offered.sum(axis=0), 1e-9)
    shares = (pool.offered / whole)[:, [CPU, MEM]].max(axis=1)
    costs: F64 = np.round(host_costs / np.maximum(shares, 1e-12) / host_costs.sum(), 6)
    return costs


@dataclass(slots=True)
class _Planner:
    pool: PoolView
    instances: Instances
    limits: RebalanceLimits
    ledger: ProposedState
    is_free: Bools
    why: dict[int, tuple[str, float]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    made: int = 0
    wants_room: bool = False
    out: Ints = field(init=False)
    into: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.out = np.zeros(len(self.pool), np.int64)
        self.into = np.zeros(len(self.pool), np.int64)

    @property
    def left(self) -> int:
        """Moves that may still be planned."""
        return self.limits.moves - len(self.order)

    def relieve(self) -> list[str]:
        """Bring hot hosts down; sentences about those that stay too full."""
        fullness = self.ledger.fullness()
        hot = np.flatnonzero((fullness > self.limits.hot_above) & self.ledger.in_use())
        hot = hot[np.argsort(-fullness[hot], kind="stable")]
        notes, self.wants_room = [], False
        for host in hot.tolist():
            self._relieve(host, fullness <= self.limits.relieved_at)
            share = self.ledger.fullness(np.array([host]))[0]
            if share > self.limits.hot_above:
                self.wants_room |= bool(self.is_free[self.ledger.rows_on(host)].any())
                notes.append(
                    f"{self.pool.names[host]} stays at {share:.0%} of its limits: no other host takes what"
                    " could be moved, who is there moved lately, or the plan's moves are used up"
                )
        return notes

    def _relieve(self, host: int, is_calm: Bools) -> None:
        stuck: set[int] = set()
        while self.ledger.fullness(np.array([host]))[0] > self.limits.relieved_at:
            rows = [r for r in self.ledger.rows_on(host) if self.is_free[r] and r not in stuck]
            if not rows or self.left <= 0 or self.out[host] >= self.limits.most_per_source:
                return
            row, after = self._cheapest(host, rows)
            before = float(self.ledger.fullness(np.array([host]))[0])
            target = self._anywhere(row, is_calm)
            if target < 0:
                stuck.add(row)
                continue
            reason = f"{self.pool.names[host]} is expected at {before:.0%} of its limits"
            self._record(row, target, reason, before - after)

    def _cheapest(self, host: int, rows: list[int]) -> tuple[int, float]:
        """Return the instance whose move is enough and copies least; or, when none is, that relieves most for
        what it copies."""
        before = self.ledger.fullness(np.array([host]))[0]
        after = self.ledger.fullness_without(host, rows)
        cost = self.instances.move_cost[rows].astype(np.float64)
        enough = np.flatnonzero(after <= self.limits.relieved_at)
        if len(enough):
            best = enough[np.lexsort((-after[enough], cost[enough]))[0]]
        else:
            best = np.argmax((before - after) / (cost + max(float(cost.mean()), 1.0)))
        return rows[best], float(after[best])

    def _anywhere(self, row: int, is_calm: Bools) -> int:
        """Return a host in use that takes it within its limits; an empty one when none does."""
        in_use = self.ledger.in_use()
        open_for = is_calm & (self.into < self.limits.most_per_target)
        target = self.ledger.best(row, np.flatnonzero(open_for & in_use))
        return target if target >= 0 else self.ledger.best(row, np.flatnonzero(open_for & ~in_use))

    def empty(self, costs: F64) -> None:
        """Empty cold hosts, dearest and emptiest first."""
        in_use = self.ledger.in_use()
        fullness = self.ledger.fullness()
        rank = np.empty(len(self.pool), np.int64)
        rank[np.lexsort((self.pool.ids, fullness, -costs))] = np.arange(len(self.pool))
        cold = np.flatnonzero(in_use & (fullness < self.limits.cold_below))
        failed = 0
        for host in cold[np.argsort(rank[cold])].tolist():
            if failed >= self.limits.failures or self.left <= 0:
                break
            later = in_use & (rank > rank[host])
            if self._may_empty(host) and self._empty(host, later, costs):
                in_use[host] = False
            else:
                failed += 1

    def _may_empty(self, host: int) -> bool:
        rows = self.ledger.rows_on(host)
        movable = bool(rows) and bool(self.is_free[rows].all())
        room = min(self.left, self.limits.most_per_source - int(self.out[host]))
        copied = float(self.instances.move_cost[rows].sum())
        return movable and len(rows) <= room and copied <= self.limits.bytes_per_host

    def _empty(self, host: int, later: Bools, costs: F64) -> bool:
        """Everything on the host onto later ones, or nothing."""
        open_for = np.flatnonzero(later & (self.into < self.limits.most_per_target))
        needed = self.ledger.least_needed(host)
        if (self.ledger.spare(open_for, self.limits.fill_to) < needed).any():
            return False
        rows = self.ledger.rows_on(host)
        rows = [rows[i] for i in np.argsort(-self.ledger.sizes(rows), kind="stable")]
        moved: list[tuple[int, int]] = []
        loads = self.ledger.loads([host, *open_for.tolist()])
        into = self.into.copy()
        for row in rows:
            still_open = open_for[self.into[open_for] < self.limits.most_per_target]
            target = self._cheap_host(row, still_open, costs)
            if target < 0:
                self.ledger.put_back(moved, [host, *open_for.tolist()], loads)
                self.into = into
                return False
            self.ledger.move(row, target)
            self.into[target] += 1
            moved.append((row, host))
        self.out[host] += len(rows)
        for row, _ in moved:
            self._note(row, f"{self.pool.names[host]} can be emptied", 1.0 / len(rows))
        return True

    def _cheap_host(self, row: int, hosts: Ints, costs: F64) -> int:
        """Onto the cheapest kind of host that takes it."""
        for cost in np.unique(costs[hosts]):
            target = self.ledger.best(row, hosts[costs[hosts] == cost], self.limits.fill_to)
            if target >= 0:
                return target
        return -1

    def _record(self, row: int, target: int, reason: str, gain: float) -> None:
        self.out[self.ledger.at[row]] += 1
        self.into[target] += 1
        self.ledger.move(row, target)
        self._note(row, reason, gain)

    def _note(self, row: int, reason: str, gain: float) -> None:
        self.made += 1
        if row in self.why:  # a chain: only its ends are shown
            self.order.remove(row)
        else:
            self.why[row] = reason, gain
        self.order.append(row)

    def result(self, notes: list[str]) -> RebalanceProposal:
        """Return what is left of the moves once chains are cut short."""
        names, ids = self.pool.names, self.pool.ids
        moves, emptied = [], set()
        for row in self.order:
            source, target = int(self.instances.host[row]), int(self.ledger.at[row])
            if source == target:
                continue
            reason, gain = self.why[row]
            moves.append(
                PlannedMove(
                    instance=self.instances.ids[row],
                    source=int(ids[source]),
                    target=int(ids[target]),
                    reason=f"{reason}; {names[target]} takes it",
                    gain=round(gain, 4),
                )
            )
            if not self.ledger.rows_on(source):
                emptied.add(int(ids[source]))
        return RebalanceProposal(tuple(moves), tuple(sorted(emptied)), tuple(notes))
