"""A few moves that even out what the hosts in use could be asked for, when there is nothing else to do.

Relief and emptying (plan.py) look at what is expected. Evening out looks at what could happen:
instances that never rose together so far, on one host by chance. It moves nobody onto an empty host and
nobody off a host that strains about as much as the others, so it does not undo what emptying did.
"""

import numpy as np

from workers.scheduler.demand_vector import CPU, DEFAULT, Rules
from workers.scheduler.host_evaluation import limits as limits_of
from workers.scheduler.rebalancing.level import Easing, ease
from workers.scheduler.rebalancing.plan import PlannedMove, RebalanceLimits, RebalanceProposal
from workers.scheduler.rebalancing.usage_model import shaped, together
from workers.scheduler.types import F64, Bools, Instances, PoolView


def even_out(
    pool: PoolView,
    instances: Instances,
    limits: RebalanceLimits = RebalanceLimits(),  # noqa: B008 - frozen
    easing: Easing = Easing(),  # noqa: B008 - frozen
    rules: Rules = DEFAULT,
) -> RebalanceProposal:
    """Moves between open hosts in use; instances may be those of some hosts only.

    Ask for it when `plan.plan` found nothing: moves of both at once might meet on one host.
    """
    rows = np.flatnonzero(_takes_part(pool, rules))
    if len(rows) < 2 or not len(instances):
        return RebalanceProposal()
    at = np.full(len(pool), -1, np.int64)
    at[rows] = np.arange(len(rows))
    before = np.where(instances.host >= 0, at[instances.host], -1)
    most = limits_of(pool, rules)[rows]
    after = ease(
        shaped(instances.demands, rules),
        most,
        before,
        sums=np.ascontiguousarray(pool.load[rows]),
        is_free=(instances.rested >= limits.rest_seconds) & (before >= 0),
        easing=easing,
    )
    moved = np.flatnonzero(after != before).tolist()
    targets = {row: int(rows[after[row]]) for row in moved}
    strain = strains(pool, rules)
    return RebalanceProposal(
        tuple(_move(pool, instances, row, targets[row], strain) for row in moved)
    )


def strains(pool: PoolView, rules: Rules = DEFAULT) -> F64:
    """Per host the share of its processor that could be asked for at most; which hosts to look into."""
    most = limits_of(pool, rules)[:, CPU]
    found: F64 = np.divide(
        together(pool.load, rules), most, where=most > 0, out=np.zeros(len(pool))
    )
    return found


def _takes_part(pool: PoolView, rules: Rules) -> Bools:
    part = pool.is_open & pool.is_seen & (pool.instances > 0)
    part &= pool.busy[:, 1] <= rules.busy_share
    part[list(pool.disk_trouble)] = False
    return part


def _move(pool: PoolView, instances: Instances, row: int, target: int, strain: F64) -> PlannedMove:
    source = int(instances.host[row])
    reason = (
        f"{pool.names[source]} could be asked for {strain[source]:.0%} of its processor,"
        f" {pool.names[target]} for {strain[target]:.0%}"
    )
    return PlannedMove(
        instances.ids[row], int(pool.ids[source]), int(pool.ids[target]), reason, 0.0
    )
