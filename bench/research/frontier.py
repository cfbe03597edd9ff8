"""What rules of others need at a given overload: each is tried with more and less of a host to plan with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.research.compare import HostSize
from bench.research.outcome import Outcome, outcome
from bench.research.packers import best_fit
from bench.research.rules import RULES
from bench.research.traces import Trace

# Of a host's processor; memory is planned with as each rule has it.
SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65)


@dataclass(frozen=True, slots=True)
class Point:
    """A rule that plans with a share of the processor: what it came to, week by week."""

    rule: str
    share: float
    outcomes: tuple[Outcome, ...]

    @property
    def hosts(self) -> float:
        """In use, on average over the weeks."""
        return sum(one.hosts for one in self.outcomes) / len(self.outcomes)

    @property
    def overloaded(self) -> float:
        """The share of all host-windows that wanted more processor than there is."""
        return weighted([(one.hosts, one.overloaded) for one in self.outcomes])


def points(trace: Trace, size: HostSize, splits: Sequence[int]) -> Iterator[Point]:
    """Every rule of others at every share: planned on each of these weeks, looked at in the next."""
    tried: set[str] = set()
    for rule in RULES[1:]:  # by limit nothing is ever short
        name = rule.name.split(",")[0]
        if name in tried:
            continue
        tried.add(name)
        gauges = [rule.gauge(trace.weeks(week, week)) for week in splits]
        for share in SHARES:
            limits = np.array([size.cpu_millis * share, size.memory_bytes * rule.shares[1]])
            yield Point(
                name,
                share,
                tuple(
                    outcome(
                        trace.weeks(week + 1, week + 1),
                        best_fit(gauge, limits),
                        size.cpu_millis,
                        size.memory_bytes,
                    )
                    for gauge, week in zip(gauges, splits, strict=True)
                ),
            )


def fewest_at(found: Sequence[Point], overloaded: float) -> Point | None:
    """The point with the fewest hosts among those overloaded no more often; None when all are."""
    may = [one for one in found if one.overloaded <= overloaded]
    return min(may, key=lambda one: (one.hosts, one.overloaded), default=None)


def weighted(weeks: Sequence[tuple[float, float]]) -> float:
    """Overload over several weeks: pairs of hosts in use and the share of their windows."""
    return sum(hosts * share for hosts, share in weeks) / max(sum(hosts for hosts, _ in weeks), 1.0)
