"""The pool as one instance finds it: what filters and scorers look at, worked out once for all hosts."""

from dataclasses import dataclass

import numpy as np

from workers.scheduler.load import DEFAULT, F32, NET, Rules, as_load, highs
from workers.scheduler.values import F64, Bools, InstanceView, PoolView


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Per host, [n, 4]: limits that may be planned with, highs before and after the instance is there.

    fullness: the share of each limit in use once the instance is there; 0 where it is not counted.
    is_counted [n, 4]: whether the resource is counted at all on that host.
    """

    instance: InstanceView
    pool: PoolView
    rules: Rules
    limits: F64
    before: F32
    after: F32
    fullness: F64
    is_counted: Bools

    @property
    def lacks(self) -> Bools:
        """[n, 4]: whether the resource would be used beyond its limit."""
        beyond: Bools = (self.after > self.limits) & self.is_counted
        return beyond


def judge(instance: InstanceView, pool: PoolView, rules: Rules = DEFAULT) -> Judged:
    """Look at every host as it would be with the instance on it."""
    is_counted = np.ones(pool.offered.shape, np.bool_)
    is_counted[:, NET] = pool.offered[:, NET] > 0
    most = limits(pool, rules)
    after = highs(pool.load + as_load(instance.demand), rules)
    fullness = np.divide(after, most, where=most > 0, out=np.ones(most.shape))
    fullness[~is_counted] = 0.0
    return Judged(
        instance=instance,
        pool=pool,
        rules=rules,
        limits=most,
        before=highs(pool.load, rules),
        after=after,
        fullness=fullness,
        is_counted=is_counted,
    )


def limits(pool: PoolView, rules: Rules = DEFAULT) -> F64:
    """[n, 4]: how much of each resource of each host may be planned with."""
    planned: F64 = pool.offered * np.array(rules.shares)
    return planned
