"""The pool as one instance finds it: what filters and scorers look at, worked out once for all hosts."""

from dataclasses import dataclass, replace

import numpy as np

from workers.scheduler.demand_vector import CPU, DEFAULT, F32, NET, Rules, as_load, highs
from workers.scheduler.profiles.history import expected
from workers.scheduler.types import F64, Bools, InstanceView, Ints, PoolView


@dataclass(frozen=True, slots=True, eq=False)
class HostEvaluation:
    """Per host, [n, 4]: limits that may be planned with, and highs once the instance is there.

    fullness: the share of each limit in use once the instance is there; 0 where it is not counted.
    is_counted [n, 4]: whether the resource is counted at all on that host. wanted [4]: the highs of the
    instance alone.
    """

    instance: InstanceView
    pool: PoolView
    rules: Rules
    limits: F64
    after: F32
    fullness: F64
    is_counted: Bools
    wanted: F32

    @property
    def lacks(self) -> Bools:
        """[n, 4]: whether the resource would be used beyond its limit."""
        beyond: Bools = (self.after > self.limits) & self.is_counted
        return beyond

    def before(self, row: int) -> F32:
        """[4]: the highs of one host as it is."""
        beyond = None if self.pool.beyond is None else self.pool.beyond[row]
        return expected(self.pool.load[row], beyond, self.rules)

    def with_weeks(self, rows: Ints) -> "HostEvaluation":
        """Return the same with the processor of some hosts read from their recorded weeks with the
        instance's.
        """
        if self.pool.beyond is None:
            return self
        after, fullness = self.after.copy(), self.fullness.copy()
        load = self.pool.load[rows] + as_load(self.instance.demand)
        beyond = self.pool.beyond[rows]
        if self.instance.beyond is not None:
            beyond = beyond + self.instance.beyond
        after[rows, CPU] = expected(load, beyond, self.rules)[:, CPU]
        most = self.limits[rows, CPU]
        fullness[rows, CPU] = np.divide(
            after[rows, CPU], most, where=most > 0, out=np.ones(len(rows))
        )
        return replace(self, after=after, fullness=fullness)


def judge(instance: InstanceView, pool: PoolView, rules: Rules = DEFAULT) -> HostEvaluation:
    """Look at every host as it would be with the instance on it, by the daily shapes."""
    is_counted = np.ones(pool.offered.shape, np.bool_)
    is_counted[:, NET] = pool.offered[:, NET] > 0
    most = limits(pool, rules)
    alone = as_load(instance.demand)
    after = highs(pool.load + alone, rules)
    fullness = np.divide(after, most, where=most > 0, out=np.ones(most.shape))
    fullness[~is_counted] = 0.0
    return HostEvaluation(
        instance=instance,
        pool=pool,
        rules=rules,
        limits=most,
        after=after,
        fullness=fullness,
        is_counted=is_counted,
        wanted=expected(alone, instance.beyond, rules),
    )


def limits(pool: PoolView, rules: Rules = DEFAULT) -> F64:
    """[n, 4]: how much of each resource of each host may be planned with."""
    planned: F64 = pool.offered * np.array(rules.shares)
    return planned
