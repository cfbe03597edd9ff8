"""Taking a tenant's shop down until nothing is left of it: unroute, stop, clean."""

from dataclasses import dataclass, field

from django.db import transaction

from runtime.specs import VolumeFate
from tenants.operations.leases import Lease
from tenants.placement import placements, routes
from tenants.placement.models import Placement
from tenants.shops import removals
from tenants.states import HostHealth, Verb
from workers.flows.clients import Clients
from workers.flows.running.flow import Context, Work, table
from workers.flows.steps import placing, routing
from workers.pool import mapping


@dataclass(slots=True)
class Removal(Context):
    """placement: the place that is given up. waiting_for: edges that may still know the route."""

    placement: Placement | None = None
    waiting_for: list[str] = field(default_factory=list)


def _open(lease: Lease, clients: Clients) -> Removal:
    operation = mapping.operation(lease)
    placement = placements.open_placement(operation.instance)
    return Removal(lease, clients, operation, placement=placement)


def _unroute(removal: Removal) -> None:
    removal.waiting_for = routing.withdraw(removal)


def _stop(removal: Removal) -> None:
    placement = removal.placement
    # A lost host removes it when it comes back, before anything else (workers/reconcilers/host_health.py).
    if placement is None or placement.host.health == HostHealth.LOST:
        return
    # It has no route any more, so nothing new comes in; requests in flight have the grace to end.
    removal.driver(placement.host).ensure_absent(
        removal.operation.instance.public_id,
        fence=mapping.fence_of(placement, removal.lease),
        volume=VolumeFate.DELETE,
    )


def _clean(removal: Removal) -> None:
    placing.clear_overtaken(removal.lease, removal.operation, removal.clients)


@transaction.atomic
def _succeed(removal: Removal) -> None:
    removal.succeed("removed")
    tenant = removal.operation.tenant
    if removal.placement is not None:
        placements.release(
            removal.placement,
            hostname=routes.hostname_of(tenant),
            waiting_for=removal.waiting_for,
        )
    removals.record_removed(tenant, removal.operation.instance)


def _fail(removal: Removal) -> None:
    """The shop stays in removal, with what is left of it recorded."""
    removal.end_badly(removal.code, removal.message)


FLOW = table(
    Verb.REMOVE,
    {"unroute": Work(_unroute), "stop": Work(_stop), "clean": Work(_clean)},
    open=_open,
    succeed=_succeed,
    fail=_fail,
)
