"""Taking a tenant's shop down until nothing is left of it: unroute, stop, clean."""

from django.db import transaction

from runtime.driver import VolumeFate
from tenants.services import leases, operations, placements, removals, routes
from tenants.services.leases import Lease
from tenants.states import HostHealth
from workers import fleet
from workers.flows import move
from workers.flows.hands import Hands
from workers.flows.provision import withdraw


def carry_out(lease: Lease, hands: Hands) -> None:
    """Remove the shop and its data. Raises what stood in the way; every step may be repeated."""
    operation = fleet.operation(lease)
    placement = placements.open_placement(operation.instance)
    leases.begin_step(lease, "unroute")
    waiting_for = withdraw(operation, hands)
    leases.begin_step(lease, "stop")
    # A lost host is told when it comes back, before anything else (workers/health.py).
    if placement is not None and placement.host.health != HostHealth.LOST:
        # It has no route any more, so nothing new comes in; requests in flight have the grace to end.
        hands.driver_for(placement.host).ensure_absent(
            operation.instance.public_id,
            fence=fleet.fence_of(placement, lease),
            volume=VolumeFate.DELETE,
        )
    move.clear_second_place(lease, operation, hands)
    leases.begin_step(lease, "clean")
    with transaction.atomic():
        operations.succeed(lease, reason="removed")
        if placement is not None:
            hostname = routes.hostname_of(operation.tenant)
            placements.release(placement, hostname=hostname, waiting_for=waiting_for)
        removals.record_removed(operation.tenant, operation.instance)


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly. The shop stays in removal, with what is left of it recorded."""
    operations.fail(lease, code=code, message=message)
