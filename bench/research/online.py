"""A pool as it lives: instances arrive unmeasured, are measured hour by hour, and moved as planned.

Placing, measuring and rebalancing are the scheduler's own; only agents, containers and time are not.
"""

import time
from dataclasses import dataclass

import numpy as np

from bench.research.bulk import place_many
from bench.research.compare import HostSize
from bench.research.learn import hour_of
from bench.research.outcome import WINDOW_SECONDS
from bench.research.sums import histories_by_host, loads_by_host
from bench.research.traces import WINDOWS_PER_HOUR, Trace
from bench.research.weeks import histories
from workers.scheduler import rebalance
from workers.scheduler.demand import demands, fold, unmeasured
from workers.scheduler.evening import even_out
from workers.scheduler.load import DEFAULT, F32, Rules, flat
from workers.scheduler.values import HostView, Instances, Ints, PoolView, Resources


@dataclass(frozen=True, slots=True)
class Life:
    """hosts: in use, mean of each week. overloaded: share of host-windows in use, of each week. moves:
    of each week. plan_ms: the longest time a plan took."""

    hosts: tuple[float, ...]
    overloaded: tuple[float, ...]
    overload_seconds: tuple[int, ...]
    moves: tuple[int, ...]
    plan_ms: float


def live(
    trace: Trace, size: HostSize, count: int, *, every_hours: int, rules: Rules = DEFAULT
) -> Life:
    """All placed in the first hour at their ceilings on `count` hosts, then planned every so often.

    A machine that was sold more than a host may plan with counts as 99 % of that.
    """
    life = _Life(trace, size, count, rules)
    for hour in range(trace.cpu.shape[1] // WINDOWS_PER_HOUR):
        life.pass_hour(hour)
        if (hour + 1) % every_hours == 0:
            life.rebalance(hour)
    return life.told()


class _Life:
    def __init__(self, trace: Trace, size: HostSize, count: int, rules: Rules) -> None:
        self.trace, self.size, self.count, self.rules = trace, size, count, rules
        self.profiles = unmeasured(len(trace))
        self.moved_at = np.full(len(trace), -1_000_000, np.int64)
        self.seen: list[tuple[int, int, int]] = []  # per hour: hosts in use, windows over, moves
        self.moves = 0
        self.plan_ms = 0.0
        self.hosts: Ints = np.full(len(trace), -1, np.int64)
        most = 0.99 * np.array([size.cpu_millis, size.memory_bytes, 0, 0]) * np.array(rules.shares)
        sold = np.where(most > 0, np.minimum(trace.ceilings, most), trace.ceilings)
        self.cold = np.stack([flat(*row) for row in sold.tolist()])
        cold = self.cold
        self.hosts = place_many(self._pool(cold), self._instances(cold, hour=0), rules)
        if (self.hosts < 0).any():
            raise ValueError(
                f"{count} hosts do not hold all instances at their ceilings: take more"
            )

    def pass_hour(self, hour: int) -> None:
        """What was used is felt by the hosts and measured."""
        part = slice(hour * WINDOWS_PER_HOUR, (hour + 1) * WINDOWS_PER_HOUR)
        wanted = np.zeros((self.count, WINDOWS_PER_HOUR))
        np.add.at(wanted, self.hosts, np.nan_to_num(self.trace.cpu[:, part]))
        over = int((wanted > self.size.cpu_millis).sum())
        self.seen.append((len(np.unique(self.hosts)), over, self.moves))
        self.moves = 0
        self.profiles = fold(self.profiles, hour_of(self.trace, hour))

    def rebalance(self, hour: int) -> None:
        """One plan, carried out."""
        expected = demands(self.profiles, self.cold, self.trace.ceilings)
        started = time.perf_counter()
        pool, instances = self._pool(expected), self._instances(expected, hour)
        plan = rebalance.plan(pool, instances, rules=self.rules)
        if not plan.moves:
            plan = even_out(pool, instances, rules=self.rules)
        self.plan_ms = max(self.plan_ms, (time.perf_counter() - started) * 1000)
        for move in plan.moves:
            self.hosts[int(move.instance)] = move.target
            self.moved_at[int(move.instance)] = hour
        self.moves = len(plan.moves)

    def told(self) -> Life:
        """By week."""
        weeks = [np.array(self.seen[at : at + 168]) for at in range(0, len(self.seen) - 167, 168)]
        windows = [int(week[:, 0].sum()) * WINDOWS_PER_HOUR for week in weeks]
        return Life(
            hosts=tuple(round(float(week[:, 0].mean()), 2) for week in weeks),
            overloaded=tuple(
                float(week[:, 1].sum()) / n for week, n in zip(weeks, windows, strict=True)
            ),
            overload_seconds=tuple(int(week[:, 1].sum()) * WINDOW_SECONDS for week in weeks),
            moves=tuple(int(week[:, 2].sum()) for week in weeks),
            plan_ms=self.plan_ms,
        )

    def _pool(self, expected: F32) -> PoolView:
        offered = Resources(int(self.size.cpu_millis), int(self.size.memory_bytes), 1 << 50)
        load = loads_by_host(expected, self.hosts, self.count)
        own = histories(self.profiles, expected)
        history = histories_by_host(own, self.hosts, self.count)
        on_it = np.bincount(self.hosts[self.hosts >= 0], minlength=self.count)
        return PoolView.of(
            [
                HostView(
                    row,
                    f"h{row}",
                    True,
                    True,
                    offered,
                    load=load[row],
                    history=history[row],
                    instances=int(on_it[row]),
                )
                for row in range(self.count)
            ]
        )

    def _instances(self, expected: F32, hour: int) -> Instances:
        count = len(self.trace)
        return Instances(
            ids=tuple(str(row) for row in range(count)),
            tenants=np.arange(count, dtype=np.int64),
            host=self.hosts.copy(),
            demands=expected,
            move_cost=np.nan_to_num(self.profiles["memory"].max(axis=1)).astype(np.float32),
            rested=((hour - self.moved_at) * 3600.0).astype(np.float32),
        )
