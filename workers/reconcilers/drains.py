"""Drives the emptying of hosts forward: opens the next moves, and says when a host is empty.

A round reads how things stand and opens what may be opened. Nothing is remembered between rounds, so a
worker that dies in the middle of a round leaves nothing half done. A shop that cannot leave is tried again
after a pause and keeps no other one back.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, Max, OuterRef
from django.db.models.functions import Now

from tenants.core import freezes
from tenants.core.models import FreezeSwitch
from tenants.errors import TenantsError
from tenants.operations.models import Operation
from tenants.placement import routes
from tenants.placement.models import Placement
from tenants.pool import drains, restored_record
from tenants.pool.models import Drain, HostReport
from tenants.shops.models import Instance
from tenants.states import (
    OPEN_OPERATION_STATES,
    DrainState,
    HostHealth,
    InstanceState,
    OperationState,
    TenantState,
    Verb,
)
from tenants.transfers import moves
from tenants.transfers.models import Move
from workers.flows import clients as flow_clients
from workers.flows.clients import Clients
from workers.flows.steps import placing
from workers.leases.periodic import once

RETRY_AFTER = timedelta(seconds=60)  # a shop that could not leave
MOST_LEFTOVERS = 20  # looked after in one round

log = logging.getLogger(__name__)


@once("drains")
def drive() -> str:
    """Do one round over every host that is being emptied, and over what moves have left behind."""
    return carry_out(flow_clients.real())


def carry_out(clients: Clients) -> str:
    """Open moves, finish what is empty, clear leftovers; tells what was done."""
    if restored_record.is_frozen():
        return "frozen after a restore"
    opened = finished = 0
    is_frozen = freezes.is_on(FreezeSwitch.Name.PLACEMENTS)
    for drain in Drain.objects.filter(state=DrainState.RUNNING).select_related("host"):
        if not is_frozen and drain.host.health == HostHealth.ALIVE:
            opened += _open_next(drain)
        finished += is_empty(drain) and drains.finish(drain)
    cleared = _clear_leftovers(clients)
    if not (opened or finished or cleared):
        return ""
    return f"{opened} moves opened, {finished} hosts emptied, {cleared} leftovers cleared"


def is_empty(drain: Drain) -> bool:
    """Return whether the host is empty: nothing is placed there, no move holds a place there, and a later
    report of the host itself lists no instance.
    """
    held = Placement.objects.filter(host=drain.host_id, until__isnull=True)
    if held.exists() or drains.has_moves_at(drain.host):
        return False
    report = HostReport.objects.filter(host=drain.host_id, inventory=[]).first()
    if report is None:
        return False
    left = Placement.objects.filter(host=drain.host_id).aggregate(at=Max("until"))["at"]
    moved = Move.objects.filter(drain=drain).aggregate(at=Max("ended_at"))["at"]
    return all(at is None or report.collected_at > at for at in (drain.started_at, left, moved))


def _open_next(drain: Drain) -> int:
    """Open as many moves as there is leave for; how many it were."""
    here = int(settings.STOA_MOVES_PER_HOST) - len(drains.open_moves(drain))
    opened = 0
    for instance in _next(drain, min(here, moves.free_slots())):
        try:
            moves.request(
                instance,
                to_host=None,
                reason=f"{drain.host.name} is being emptied",
                requested_by=drain.requested_by,
                drain=drain,
            )
        except TenantsError as error:
            log.info("%s does not leave %s yet: %s", instance, drain.host.name, error)
        else:
            opened += 1
    return opened


def _next(drain: Drain, most: int) -> list[Instance]:
    """Who leaves next: the largest first, because room for those becomes rare first."""
    if most <= 0:
        return []
    working = Operation.objects.filter(
        tenant=OuterRef("instance__tenant"), state__in=OPEN_OPERATION_STATES
    )
    failed_lately = Operation.objects.filter(
        instance=OuterRef("instance"),
        verb=Verb.MOVE,
        state__in=(OperationState.FAILED, OperationState.CANCELLED),
        finished_at__gt=Now() - RETRY_AFTER,
    )
    on_its_way = Move.objects.filter(instance=OuterRef("instance"), ended_at__isnull=True)
    rows = (
        Placement.objects.filter(
            host=drain.host_id,
            until__isnull=True,
            instance__state__in=moves.MOVABLE_STATES,
            instance__tenant__state=TenantState.LIVE,
        )
        .exclude(Exists(working) | Exists(failed_lately) | Exists(on_its_way))
        .select_related("instance__tenant")
        .order_by("-memory_bytes", "pk")
    )
    return [row.instance for row in rows[:most]]


def _clear_leftovers(clients: Clients) -> int:
    """Clear what moves left on hosts that were silent at their end, where nobody works on the shop; how much.

    A source's volume goes only while the shop runs well at its new place.
    """
    working = Operation.objects.filter(
        tenant=OuterRef("instance__tenant"), state__in=OPEN_OPERATION_STATES
    )
    left = (
        Move.objects.filter(ended_at__isnull=True)
        .exclude(Exists(working))
        .select_related("instance__tenant", "source", "target")
        .order_by("pk")
    )
    cleared = 0
    for move in left[:MOST_LEFTOVERS]:
        is_moved = move.is_switched
        if is_moved and move.instance.state in (InstanceState.FAILED, InstanceState.DATA_MISSING):
            continue
        # With the fence of the last claim: a worker that claims the tenant meanwhile is stronger.
        if placing.clear(move, move.instance.tenant.fence, clients):
            moves.close(move, hostname=routes.hostname_of(move.instance.tenant))
            cleared += 1
    return cleared
