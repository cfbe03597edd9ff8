"""Looks at the pool every few minutes for hosts that are too full or hardly used, and plans moves.

Only what is on those hosts is read, so a pool in order costs one look at its hosts. What is planned is
kept and shown; whether it is carried out is for operators to say (off, propose, on). Moves are asked for
through the same door as all others, so their number, freezes and fences hold here too.
"""

import time

import numpy as np
from django.db import connection

from tenants.core import freezes
from tenants.core.models import FreezeSwitch
from tenants.placement.bookings import SHAPE_WIDTH
from tenants.transfers import rebalances
from tenants.transfers.models import RebalanceSetting
from tenants.transfers.rebalances import Proposed
from workers.leases.periodic import once
from workers.pool import reader
from workers.pool.reader import array_values
from workers.scheduler import Instances, PoolView
from workers.scheduler.demand_vector import CPU_MEAN, DEMAND_WIDTH, DISK, MEMORY
from workers.scheduler.profiles.history import beyond
from workers.scheduler.profiles.usage_profile import stacked
from workers.scheduler.rebalancing.plan import RebalanceLimits, RebalanceProposal
from workers.scheduler.rebalancing.round import decide
from workers.scheduler.types import Ints

# One that does not run, or to whose tenant something is being done, counts as moved this moment.
_ON_HOSTS = """
SELECT instance.public_id, placement.host_id, placement.cpu_millis,
       placement.memory_bytes, placement.disk_bytes, array_send(placement.shape),
       CASE WHEN busy.id IS NULL AND instance.state = 'running'
            THEN extract(epoch FROM statement_timestamp() - placement.since)::float8 ELSE 0 END,
       profile.packed, plan.cpu_millis
  FROM tenants_placement AS placement
  JOIN tenants_instance AS instance ON instance.id = placement.instance_id
  JOIN tenants_tenant AS tenant ON tenant.id = instance.tenant_id
  JOIN tenants_plan AS plan ON plan.id = tenant.plan_id
  LEFT JOIN tenants_instanceprofile AS profile ON profile.instance_id = instance.id
  LEFT JOIN tenants_operation AS busy
    ON busy.tenant_id = instance.tenant_id AND busy.state IN ('pending', 'running')
 WHERE placement.until IS NULL AND placement.host_id = ANY(%s)
 ORDER BY placement.host_id, placement.id
"""


@once("rebalance")
def rebalance() -> str:
    """Plan, keep the plan, and ask for its moves where that is allowed."""
    setting = rebalances.setting()
    if setting.mode == RebalanceSetting.Mode.OFF:
        return "off"
    began = time.monotonic()
    pool = reader.read()
    found, hot = look(pool, budget=setting.budget)
    frozen = freezes.is_on(FreezeSwitch.Name.REPLACING)
    names = dict(zip(pool.ids.tolist(), pool.names, strict=True))
    empty = [names[pk] for pk in found.emptied]
    note = "; ".join(
        [*found.notes[:3], *([f"empty afterwards: {', '.join(empty)}"] if empty else [])]
    )
    kept = rebalances.store(
        [Proposed(m.instance, m.source, m.target, m.reason, m.gain) for m in found.moves],
        mode=setting.mode,
        note=note,
        hosts=len(pool),
        hot_hosts=hot,
        took_ms=round((time.monotonic() - began) * 1000),
    )
    summary = f"{len(found.moves)} moves planned, {len(found.emptied)} hosts would be empty"
    if setting.mode != RebalanceSetting.Mode.ON or not kept.moves:
        return summary
    if frozen:
        return f"{summary}; moves are frozen"
    return f"{summary}, {rebalances.carry_out(kept)} asked for"


def look(pool: PoolView, *, budget: int) -> tuple[RebalanceProposal, int]:
    """Return the moves worth making now, and how many hosts are too full."""
    return decide(pool, instances_on, RebalanceLimits(moves=budget))


def instances_on(pool: PoolView, rows: Ints) -> Instances:
    """Return what is placed on these hosts of the pool; one query."""
    with connection.cursor() as cursor:
        cursor.execute(_ON_HOSTS, [pool.ids[rows].tolist()])
        found = cursor.fetchall()
    demands = np.zeros((len(found), DEMAND_WIDTH), np.float32)
    for index, (_, _, cpu_millis, memory, disk, shape, _, _, _) in enumerate(found):
        values = array_values(shape)
        if len(values):
            demands[index, :SHAPE_WIDTH] = values
        else:
            demands[index, CPU_MEAN] = cpu_millis
        demands[index, MEMORY], demands[index, DISK] = memory, disk
    most = np.array([row[8] for row in found], np.float32)
    return Instances(
        ids=tuple(row[0] for row in found),
        host=np.searchsorted(pool.ids, np.array([row[1] for row in found], np.int64)),
        demands=demands,
        move_cost=demands[:, DISK].copy(),
        rested=np.array([row[6] for row in found], np.float32),
        beyond=beyond(stacked([row[7] for row in found]), demands, most),
    )
