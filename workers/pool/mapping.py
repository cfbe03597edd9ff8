"""Between rows and values: an instance for the scheduler, its spec for a driver, edges for routes."""

from datetime import timedelta

import numpy as np
from django.conf import settings
from django.db.models import BooleanField, Case, Exists, OuterRef, Value, When
from django.db.models.functions import Now

from runtime.specs import Fence, InstanceSpec
from runtime.units import Limits
from tenants.core.models import FreezeSwitch
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement import routes
from tenants.placement.bookings import SHAPE_WIDTH, Booking
from tenants.placement.models import Placement
from tenants.placement.routes import RouteChange
from tenants.pool.models import Edge
from tenants.shops.models import Instance, Tenant
from tenants.states import TenantState, Verb
from tenants.transfers import missing_data
from workers.rpc.edge_types import EdgeSeat, RouteMessage
from workers.scheduler import InstanceView
from workers.scheduler.demand_vector import DEMAND_WIDTH, DISK, F32, MEMORY, flat

# Reports come every 2 seconds and are written down every 4 or so.
FRESH = timedelta(seconds=10)


def operation(lease: Lease) -> Operation:
    """Return the leased operation with all that its flow reads, in one query.

    Beside the rows: `has_placement`, and `is_frozen` while an operator has stopped new placements.
    """
    return (
        Operation.objects.select_related("tenant__plan", "tenant__first_login", "instance__release")
        .annotate(
            has_placement=Exists(
                Placement.objects.filter(instance=OuterRef("instance"), until__isnull=True)
            ),
            is_frozen=Exists(
                FreezeSwitch.objects.filter(name=FreezeSwitch.Name.PLACEMENTS, is_on=True)
            ),
        )
        .get(pk=lease.operation_id)
    )


def edges() -> tuple[EdgeSeat, ...]:
    """Return every registered edge and whether it serves just now; one query."""
    rows = Edge.objects.annotate(is_live=_is_fresh("seen_at")).values_list(
        "name", "check_url", "is_live", "is_synced", "applied_sequence"
    )
    return tuple(
        EdgeSeat(
            name=name,
            check_url=url,
            is_live=is_live,
            is_ready=is_live and is_synced,
            applied_sequence=applied,
        )
        for name, url, is_live, is_synced, applied in rows
    )


def view_of(instance: Instance, booking: Booking) -> InstanceView:
    """Return the instance as the scheduler sees it."""
    return InstanceView(id=instance.public_id, demand=demand_row(booking))


def demand_row(booking: Booking) -> F32:
    """Return a booking as the scheduler's row of figures."""
    if not booking.shape:
        return flat(booking.cpu_millis, booking.memory_bytes, booking.disk_bytes)
    row = np.empty(DEMAND_WIDTH, np.float32)
    row[:SHAPE_WIDTH] = booking.shape
    row[MEMORY], row[DISK] = booking.memory_bytes, booking.disk_bytes
    return row


def fence_of(placement: Placement, lease: Lease) -> Fence:
    """Return the fence that makes the host refuse workers of earlier leases."""
    return Fence(epoch=placement.host.epoch, number=lease.fence)


def volume_of(operation: Operation) -> str:
    """Return the tenant's volume by a name that no later tenant of the same slug can have; "" for none."""
    return volume_name(operation.tenant) if operation.instance.release.has_volume else ""


def volume_name(tenant: Tenant) -> str:
    """Return what the tenant's volume is called on every host."""
    return tenant.public_id.replace("_", "-")


def spec_of(operation: Operation, placement: Placement) -> InstanceSpec:
    """Return all that a host must know to run the instance."""
    release, plan = operation.instance.release, operation.tenant.plan
    return InstanceSpec(
        instance_id=operation.instance.public_id,
        tenant=operation.tenant.slug,
        image_digest=release.image_digest,
        published_port=placement.port,
        ceilings=Limits(
            cpu_millis=plan.cpu_millis,
            memory_bytes=plan.memory_bytes,
            pids=plan.pids,
            disk_bytes=plan.disk_bytes,
            egress_bytes_per_second=plan.egress_bytes_per_second,
            connections=plan.connections,
            new_connections_per_second=plan.new_connections_per_second,
            io_bytes_per_second=plan.io_bytes_per_second,
        ),
        container_port=release.container_port,
        env=_env_of(operation),
        volume=volume_of(operation),
        health_path=release.health_path,
        image_source=release.image_source,
        writable_root=release.writable_root,
        internet=plan.has_internet,
        new_volume=may_have_new_volume(operation),
    )


def may_have_new_volume(operation: Operation) -> bool:
    """Return whether the shop may begin with an empty volume: it was never open, or its owner asked for
    that.
    """
    if operation.verb == Verb.PROVISION:
        return not may_have_data(operation)
    return missing_data.begins_empty(operation)


def may_have_data(operation: Operation) -> bool:
    """Return whether the shop may have data already: visitors were led to it, or may have been after the
    moment of a backup from which the record was restored.
    """
    return (
        operation.tenant.state == TenantState.LIVE
        or "restored" in operation.arguments
        or (operation.instance.release.has_volume and routes.was_opened(operation.tenant))
    )


def message_of(change: RouteChange) -> RouteMessage:
    """Return a route change as edges take it."""
    return RouteMessage(
        hostname=change.hostname,
        value=change.value,
        version=change.sequence,
        sequence=change.sequence,
    )


def _env_of(operation: Operation) -> tuple[tuple[str, str], ...]:
    tenant = operation.tenant
    first_login = getattr(tenant, "first_login", None)
    return (
        ("PORT", str(operation.instance.release.container_port)),
        ("STOA_TENANT", tenant.slug),
        ("STOA_SHOP_NAME", tenant.shop_name),
        ("STOA_LANGUAGE", tenant.language),
        ("STOA_CURRENCY", "JPY" if tenant.language == "ja" else tenant.plan.currency),
        ("STOA_PUBLIC_URL", settings.STOA_SHOP_URL.format(slug=tenant.slug)),
        ("STOA_FIRST_LOGIN_HASH", first_login.hash if first_login else ""),
    )


def _is_fresh(field: str) -> Case:
    return Case(
        When(**{f"{field}__gt": Now() - FRESH}, then=Value(True)),
        default=Value(False),
        output_field=BooleanField(),
    )
