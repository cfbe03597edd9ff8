"""A volume's state on its way off a host and onto another one."""

from runtime.errors import HostError
from tenants.models import Operation, Placement, Tenant
from tenants.services.leases import Lease
from workers.flows.hands import Hands


def take(
    lease: Lease | None, tenant: Tenant, placement: Placement, hands: Hands, *, reason: str
) -> None:
    """Put the present state of the tenant's volume away off its host."""
    raise HostError("there is no repository of snapshots")


def bring(lease: Lease, operation: Operation, placement: Placement, hands: Hands) -> None:
    """Make the volume at the place be the newest state that was put away."""
    raise HostError("there is no repository of snapshots")
