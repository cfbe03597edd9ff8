"""Starting a shop at its port, or at another of its host's where somebody else's container has that one.

The record gives each port to one shop. A container that it does not know, after a restore from a backup
or a host's mistake, may hold a port all the same. The shop then starts at another one.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from django.db import transaction

from runtime.driver import Driver
from runtime.errors import SpecInvalidError
from runtime.specs import Fence, InstanceSpec
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.placement import placements, routes
from tenants.placement.models import Placement
from workers.flows.errors import PortsTakenError
from workers.pool import mapping

# In one try. All ports that the host's last report names are passed over at once.
MOST_PORTS = 8

log = logging.getLogger(__name__)


def start(lease: Lease, spec: InstanceSpec, placement: Placement, driver: Driver) -> None:
    """Have the shop run at its place, whose port may be another one afterwards."""

    def change_port() -> int | None:
        hostname = routes.hostname_of(placement.instance.tenant)
        with transaction.atomic():
            leases.lock(lease)
            is_changed = placements.change_port(placement, hostname=hostname)
        return placement.port if is_changed else None

    start_with(
        driver,
        spec,
        fence=mapping.fence_of(placement, lease),
        change_port=change_port,
        host=placement.host.name,
    )


def start_with(
    driver: Driver,
    spec: InstanceSpec,
    *,
    fence: Fence,
    change_port: Callable[[], int | None],
    host: str,
) -> None:
    """Have the spec run. change_port: books another port while the operation is ours; None for none.

    Raises PortsTakenError when there is none, or as many were tried as are in one go.
    """
    for _ in range(MOST_PORTS):
        try:
            driver.ensure_running(spec, fence=fence)
        except SpecInvalidError as error:
            if error.details.get("field") != "published_port":
                raise
            message = f"host {host}: {error.message}"
        else:
            return
        log.warning("%s cannot have its port: %s", spec.instance_id, message)
        port = change_port()
        if port is None:
            break
        spec = replace(spec, published_port=port)
    raise PortsTakenError(message)
