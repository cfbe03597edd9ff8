"""A move as one without a hold does it: stop, copy, start elsewhere, change the route. For comparison.

    bin/stoa-env python -m bench.inner.stop_first SLUG HOST

Nomad moves a group with one allocation this way, and so does everything that reschedules instead of
moving. It uses our own parts, so that only the order of things differs.
"""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")
django.setup()

from django.db import transaction  # noqa: E402 - Django first

from runtime.specs import Fence, VolumeFate  # noqa: E402
from runtime.volume_requests import VolumeLoad  # noqa: E402
from tenants.operations.models import Operation  # noqa: E402
from tenants.placement import bookings, placements, routes  # noqa: E402
from tenants.placement.models import Placement  # noqa: E402
from tenants.pool.models import Host  # noqa: E402
from workers.flows import clients  # noqa: E402
from workers.flows.steps import routing, volumes  # noqa: E402
from workers.pool import mapping  # noqa: E402


def main(slug: str, host_name: str) -> None:
    """Move the shop to the host, stopping it first."""
    operation = (
        Operation.objects.filter(tenant__slug=slug)
        .select_related("tenant__plan", "tenant__first_login", "instance__release")
        .latest("pk")
    )
    instance, tenant = operation.instance, operation.tenant
    source = placements.open_placement(instance)
    if source is None:
        raise SystemExit(f"{slug} is on no host")
    seat = bookings.book(Host.objects.get(name=host_name).pk, placements.booking_of(source))
    if seat is None:
        raise SystemExit(f"{host_name} has no room")
    target = Placement(
        instance=instance,
        host=seat.host,
        port=seat.port,
        cpu_millis=source.cpu_millis,
        memory_bytes=source.memory_bytes,
        disk_bytes=source.disk_bytes,
        shape=source.shape,
    )
    mine = clients.real()
    old, new = mine.driver_for(source.host), mine.driver_for(target.host)
    leaving = Fence(source.host.epoch, tenant.fence)
    coming = Fence(target.host.epoch, tenant.fence)
    old.ensure_stopped(instance.public_id, fence=leaving)
    taken = volumes.take(None, tenant, source, mine, reason="move")
    chain = volumes.chain_of(taken)
    load = VolumeLoad(
        instance.public_id, mapping.volume_of(operation), chain, tenant.plan.disk_bytes, 0, 0
    )
    new.load_volume(load, fence=coming)
    new.ensure_running(mapping.spec_of(operation, target), fence=coming)
    with transaction.atomic():
        placements.release(source, hostname=routes.hostname_of(tenant), waiting_for=[])
        target.save()
        change = routes.to_address(tenant, address=target.host.address, port=target.port)
    routing.spread(change, mine)
    old.ensure_absent(instance.public_id, fence=leaving, volume=VolumeFate.DELETE)


if __name__ == "__main__":
    main(*sys.argv[1:3])
