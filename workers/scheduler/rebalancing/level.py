"""Evens out the load of hosts by moving a few instances of a placement there is.

Hosts that are filled one after the other to their limits leave some at the edge of their processor and the
last one idle. The same number of hosts evened out costs nothing and is much further from an overload
(docs/decisions/0018). The worst host gives instances away, or swaps them, as long as its strain falls.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workers.scheduler.demand_vector import F32
from workers.scheduler.rebalancing.usage_model import UsageModel
from workers.scheduler.types import F64, Bools, Ints

Cost = Callable[[F32, F64], F64]

# Beyond its limit a resource weighs more than any evening out.
_BEYOND = 100.0
_ENOUGH = 1e-4
# Hosts looked at for a swap: the emptiest ones.
_PARTNERS = 4


@dataclass(frozen=True, slots=True)
class Easing:
    """How far `ease` may go: instances moved, and only while the worst host's strain is above the mean of
    all by this factor. What is even enough is left alone, or every plan would find something to move."""

    moves: int = 4
    above: float = 1.25


def ease(
    gauge: UsageModel,
    limits: F64,
    hosts: Ints,
    *,
    sums: F32,
    is_free: Bools,
    easing: Easing = Easing(),
) -> Ints:
    """Return the same placement with a few free instances moved off hosts that strain more than the others.

    hosts [n]: rows of limits and sums, < 0 for an instance that stays out of it. sums: what each host
    carries in the gauge's columns, with everything that is not among the instances.
    """
    state = Levelling(gauge, limits)
    state.sums, state.hosts, state.is_free = sums.copy(), hosts.copy(), is_free
    while np.count_nonzero(state.hosts != hosts) < easing.moves:
        before, costs = state.hosts.copy(), state.strain(state.sums, limits)
        if costs.max() <= easing.above * costs.mean() or not state.relieve(state.strain):
            break
        if np.count_nonzero(state.hosts != hosts) > easing.moves:  # an exchange moves two
            return before
    return state.hosts


class Levelling:
    """Who is where, and what that adds up to."""

    def __init__(self, gauge: UsageModel, limits: F64) -> None:
        self.gauge, self.limits = gauge, limits
        self.sums = np.zeros((len(limits), gauge.rows.shape[1]), np.float32)
        self.hosts = np.full(len(gauge.rows), -1, np.int64)
        self.is_free = np.ones(len(gauge.rows), np.bool_)

    def put(self, row: int, host: int) -> None:
        if self.hosts[row] >= 0:
            self.sums[self.hosts[row]] -= self.gauge.rows[row]
        self.sums[host] += self.gauge.rows[row]
        self.hosts[row] = host

    def fullness(self, sums: F32, limits: F64) -> F64:
        """Return how bad each host's sum is while it is about fitting: what is beyond its limits."""
        beyond: F64 = np.maximum(self.gauge.shares(sums, limits) - 1.0, 0.0).sum(axis=-1)
        return beyond

    def strain(self, sums: F32, limits: F64) -> F64:
        """Return how bad each host's sum is once all fit: its strain; going beyond a limit is far worse."""
        strain: F64 = self.gauge.strain(sums) / limits[..., 0]
        return strain + _BEYOND * self.fullness(sums, limits)

    def relieve(self, cost: Cost) -> bool:
        """Make the worst host better without making another as bad; whether that could be done."""
        costs = cost(self.sums, self.limits)
        worst = int(np.argmax(costs))
        members = np.flatnonzero((self.hosts == worst) & self.is_free)
        if not len(members):
            return False
        goal = costs[worst] - _ENOUGH
        if goal <= 0:
            return False
        return self._move(cost, worst, members, goal) or self._swap(cost, members, goal, costs)

    def _move(self, cost: Cost, worst: int, members: Ints, goal: float) -> bool:
        """Give one instance away: the move after which the worse of both hosts is best."""
        rows = self.gauge.rows[members]
        left = cost(self.sums[worst] - rows, self.limits[worst])
        found = (goal, -1, -1)
        for number in np.flatnonzero(left < goal):
            there = cost(self.sums + rows[number], self.limits)
            there[worst] = np.inf
            host = int(np.argmin(there))
            after = max(float(left[number]), float(there[host]))
            if after < found[0]:
                found = (after, int(members[number]), host)
        if found[1] < 0:
            return False
        self.put(found[1], found[2])
        return True

    def _swap(self, cost: Cost, members: Ints, goal: float, costs: F64) -> bool:
        """Exchange one instance for one of a better host."""
        worst = int(np.argmax(costs))
        for host in np.argsort(costs, kind="stable")[:_PARTNERS]:
            others = np.flatnonzero((self.hosts == host) & self.is_free)
            if host == worst or not len(others):
                continue
            # [members, others, w] would be large: one member at a time.
            found = (goal, -1, -1)
            for member in members:
                change = self.gauge.rows[others] - self.gauge.rows[member]
                here = cost(self.sums[worst] + change, self.limits[worst])
                there = cost(self.sums[host] - change, self.limits[host])
                after = np.maximum(here, there)
                best = int(np.argmin(after))
                if after[best] < found[0]:
                    found = (float(after[best]), int(member), int(others[best]))
            if found[1] >= 0:
                self.put(found[1], int(host))
                self.put(found[2], worst)
                return True
        return False
