"""Plans on what was seen in one stretch of a trace by every rule, and looks at what came after."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.research.fewest import fewest, level, measured
from bench.research.learn import demands_of, profiles_of
from bench.research.outcome import Outcome, outcome
from bench.research.packers import best_fit, spread, target_load
from bench.research.rules import RULES, by_ceiling
from bench.research.traces import Trace
from bench.research.weeks import histories
from workers import scheduler
from workers.scheduler.demand_vector import CPU, DEFAULT, F32, Rules, as_load
from workers.scheduler.profiles.history import beyond
from workers.scheduler.types import F64, HostView, InstanceView, Ints, PoolView, Resources

# Trimaran's advice: ten below the load that is wanted, here 80 %.
_TARGET = 70.0


@dataclass(frozen=True, slots=True)
class HostSize:
    """What each of the equal hosts has."""

    cpu_millis: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Row:
    """One rule's outcome; decision_ms: for one machine, measuring not counted."""

    name: str
    outcome: Outcome
    decision_ms: float


def compare(seen: Trace, after: Trace, size: HostSize) -> Iterator[Row]:
    """Every rule of others, then ours, packed on `seen` and looked at on `after`."""
    both = np.array([size.cpu_millis, size.memory_bytes])

    def row(name: str, decide: Callable[[], Ints]) -> Row:
        started = time.perf_counter()
        hosts = decide()
        each = (time.perf_counter() - started) * 1000 / len(seen)
        return Row(name, outcome(after, hosts, size.cpu_millis, size.memory_bytes), each)

    for rule in RULES:
        gauge = rule.gauge(seen)
        limits = both * np.array(rule.shares)
        yield row(f"{rule.name}; best fit", lambda g=gauge, m=limits: best_fit(g, m))  # type: ignore[misc]
    sold = by_ceiling(seen)
    needed = len(np.unique(best_fit(sold, both)))
    yield row("by limit; spread", lambda: spread(sold, both, needed))
    yield row(
        "Trimaran, target 70",
        lambda: target_load(seen, size.cpu_millis, size.memory_bytes, _TARGET),
    )
    ours = Ours.of(seen, size)
    yield row("ours, one by one", ours.one_by_one)
    yield row("ours, in bulk", ours.in_bulk)


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """The scheduler's own code on a trace: measured, placed one by one or in bulk."""

    demands: F32
    histories: F32
    beyond: F32
    size: HostSize
    rules: Rules = DEFAULT

    @classmethod
    def of(cls, seen: Trace, size: HostSize) -> "Ours":
        """Measured over the trace."""
        profiles = profiles_of(seen)
        demands = demands_of(seen, profiles)
        own = beyond(profiles, demands, seen.ceilings[:, CPU])
        return cls(demands, histories(profiles, demands), own, size)

    def in_bulk(self) -> Ints:
        """On the fewest equal hosts, evened out."""
        gauge = measured(self.demands, self.histories, self.rules)
        return fewest(gauge, self._limits(len(self.demands))).hosts

    def on(self, count: int) -> Ints:
        """On so many equal hosts, whether they suffice or not, evened out."""
        gauge = measured(self.demands, self.histories, self.rules)
        return level(gauge, self._limits(count)).hosts

    def one_by_one(self) -> Ints:
        """In the trace's order by `place`; a host more is opened when none has room."""
        hosts = np.full(len(self.demands), -1, np.int64)
        loads = np.zeros((0, as_load(self.demands[0]).shape[0]), np.float32)
        summed = np.zeros((0, self.beyond.shape[1]), np.float32)
        for row in range(len(self.demands)):
            view = InstanceView(f"ins_{row}", self.demands[row], self.beyond[row])
            decision = scheduler.place(view, self._pool(loads, summed), self.rules)
            if isinstance(decision, scheduler.Placed):
                host = decision.candidates[0]
            else:
                host = len(loads)
                loads = np.concatenate([loads, np.zeros((1, loads.shape[1]), np.float32)])
                summed = np.concatenate([summed, np.zeros((1, summed.shape[1]), np.float32)])
            loads[host] += as_load(self.demands[row])
            summed[host] += self.beyond[row]
            hosts[row] = host
        return hosts

    def _pool(self, loads: F32, summed: F32) -> PoolView:
        offered = Resources(int(self.size.cpu_millis), int(self.size.memory_bytes), 1 << 50)
        return PoolView.of(
            [
                HostView(
                    id=row,
                    name=f"h{row}",
                    is_open=True,
                    is_seen=True,
                    offered=offered,
                    load=loads[row],
                    beyond=summed[row],
                )
                for row in range(len(loads))
            ]
        )

    def _limits(self, count: int) -> F64:
        shares = np.array(self.rules.shares)
        one = np.array([self.size.cpu_millis, self.size.memory_bytes, 0.0, 0.0]) * shares
        return np.tile(one, (count, 1))
