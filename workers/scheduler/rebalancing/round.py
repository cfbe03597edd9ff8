"""One round of rebalancing: which hosts are looked into, and what is planned for them.

Pure: the caller says how the instances on some hosts are read. So the bench decides by the same
code as the product.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from workers.scheduler.demand_vector import DEFAULT, NET, Rules
from workers.scheduler.host_evaluation import limits as limits_of
from workers.scheduler.profiles.history import expected
from workers.scheduler.rebalancing.balance import even_out, strains
from workers.scheduler.rebalancing.consolidate import MOST_HOSTS, consolidate, settle
from workers.scheduler.rebalancing.plan import RebalanceLimits, RebalanceProposal, plan
from workers.scheduler.types import F64, Instances, Ints, PoolView

# Hosts that are looked into in one round, the fullest and the emptiest.
MOST_HOT = 100
MOST_COLD = 50
# And, where those are in order, the most and the least strained.
MOST_STRAINED = 50

Reader = Callable[[PoolView, Ints], Instances]


def decide(
    pool: PoolView, instances_on: Reader, limits: RebalanceLimits, rules: Rules = DEFAULT
) -> tuple[RebalanceProposal, int]:
    """Return the moves worth making now, and how many hosts are too full."""
    fullness = _fullness(pool, rules)
    hot = np.flatnonzero(fullness > limits.hot_above)
    cold = np.flatnonzero((fullness < limits.cold_below) & (pool.instances > 0))
    cold = cold[np.argsort(fullness[cold], kind="stable")][:MOST_COLD]
    # What hosts report is of ten seconds, and no reason to move a shop: bookings are of days.
    calm = replace(pool, busy=np.full_like(pool.busy, -1))
    relief = RebalanceProposal()
    if len(hot):
        relief = _relieved(calm, fullness, instances_on, limits, rules)
        if relief.moves:
            return relief, len(hot)
    # Where nobody may leave a host that is too full, the others go on: of 2,000 one is often so.
    found = RebalanceProposal()
    if len(cold) > 1 or _could_go_elsewhere(pool, cold):
        found = plan(calm, instances_on(pool, cold), limits, rules)
    rows = _emptiest(pool, fullness)
    rows = rows[fullness[rows] <= limits.hot_above]
    if not found.moves and _may_be_too_many(pool, rows, limits, rules):
        found = consolidate(calm, instances_on(pool, rows), limits, rules)
    if not found.moves:
        found = _evened(calm, instances_on, limits, rules)
    return replace(found, notes=(*relief.notes, *found.notes)), len(hot)


def _relieved(
    pool: PoolView, fullness: F64, instances_on: Reader, limits: RebalanceLimits, rules: Rules
) -> RebalanceProposal:
    """Hosts that are too full, brought down: a host is opened for it only when no others in use do."""
    hot = np.flatnonzero(fullness > limits.hot_above)
    hot = hot[np.argsort(-fullness[hot], kind="stable")]
    if len(hot) <= MOST_HOSTS // 2:
        rows = np.unique(np.concatenate([hot, _emptiest(pool, fullness)[: MOST_HOSTS - len(hot)]]))
        found = settle(pool, instances_on(pool, rows), limits, rules)
        if found.moves:
            return found
    return plan(pool, instances_on(pool, hot[:MOST_HOT]), limits, rules)


def _may_be_too_many(pool: PoolView, rows: Ints, limits: RebalanceLimits, rules: Rules) -> bool:
    """Return whether these hosts could carry what they do with one less, as far as their sums tell."""
    if len(rows) < 2:
        return False
    used = expected(pool.load[rows], None if pool.beyond is None else pool.beyond[rows], rules)
    most = limits_of(pool, rules)[rows] * limits.fill_to
    whole = np.s_[1:3]  # memory and disk add up; of a processor the sum of peaks says too much
    return bool((used.sum(axis=0)[whole] <= (most.sum(axis=0) - most.min(axis=0))[whole]).all())


def _emptiest(pool: PoolView, fullness: F64) -> Ints:
    """Return the emptiest open hosts in use."""
    used = np.flatnonzero((pool.instances > 0) & pool.is_open & pool.is_seen)
    found: Ints = used[np.argsort(fullness[used], kind="stable")][:MOST_HOSTS]
    return found


def _evened(
    pool: PoolView, instances_on: Reader, limits: RebalanceLimits, rules: Rules
) -> RebalanceProposal:
    """Even out the most and the least strained hosts, a few moves at a time. For when nothing is too full and
    nothing can be emptied.
    """
    used = np.flatnonzero(pool.instances > 0)
    order = used[np.argsort(-strains(pool, rules)[used], kind="stable")]
    rows = np.unique(np.concatenate([order[:MOST_STRAINED], order[-MOST_STRAINED:]]))
    return (
        even_out(pool, instances_on(pool, rows), limits, rules=rules)
        if len(rows) > 1
        else RebalanceProposal()
    )


def _fullness(pool: PoolView, rules: Rules) -> F64:
    """Per host the share of its scarcest resource's limit that is expected to be used."""
    most = limits_of(pool, rules)
    used = expected(pool.load, pool.beyond, rules)
    shares = np.divide(used, most, where=most > 0, out=np.zeros(most.shape))
    shares[:, NET] = np.where(pool.offered[:, NET] > 0, shares[:, NET], 0.0)
    fullest: F64 = shares.max(axis=1) if len(pool) else np.zeros(0)
    return fullest


def _could_go_elsewhere(pool: PoolView, cold: Ints) -> bool:
    """Return whether there is another open host in use that one cold host's instances could go to."""
    others = pool.is_open & pool.is_seen & (pool.instances > 0)
    others[cold] = False
    return bool(len(cold)) and bool(others.any())
