"""A volume's state on its way off a host, into the repository, and onto a host again.

The one way for all: regular snapshots, moves, recovery, restores, and whatever is about to take a risk.
"""

from django.db import transaction

from runtime.errors import ArchiveDamagedError, RuntimeCoreError, TransferFailedError
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumePart, VolumeSave
from tenants.errors import SnapshotLostError, TenantsError
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Tenant
from tenants.snapshots import due, marks, snapshots
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import RepositoryError
from tenants.snapshots.snapshots import Saved
from workers.flows.clients import Clients
from workers.pool import mapping

# Read before a restore; larger ones are read by the weekly check and by the host itself.
READ_AGAIN_BYTES = 512 * 1024 * 1024


def take(
    lease: Lease | None, tenant: Tenant, placement: Placement, clients: Clients, *, reason: str
) -> Snapshot:
    """Put the present state of the tenant's volume away off its host; the snapshot that holds it.

    It is an earlier one where the volume has not changed since. lease: of the operation this is part of,
    None for none. Raises what the driver raises, LeaseLostError, SnapshotLostError, RepositoryError.
    """
    with transaction.atomic():
        # A worker that was overtaken must begin none: it would count as the newest.
        if lease is not None:
            leases.lock(lease)
        snapshot = snapshots.begin(tenant, reason, host=placement.host)
    try:
        saved = clients.driver_for(placement.host).save_volume(
            VolumeSave(
                volume=mapping.volume_name(tenant),
                snapshot=snapshot.public_id,
                base=snapshot.base.public_id if snapshot.base else "",
                put_url=snapshots.put_url(snapshot),
            )
        )
        if saved.unchanged:
            return snapshots.unchanged(snapshot)
        return snapshots.kept(
            snapshot,
            Saved(
                base=saved.base,
                sha256=saved.sha256,
                archive_bytes=saved.archive_bytes,
                volume_bytes=saved.volume_bytes,
                files=saved.files,
                frozen_ms=saved.frozen_ms,
                skipped=saved.skipped,
                is_anew=saved.is_anew,
            ),
        )
    except (RuntimeCoreError, TenantsError) as error:
        snapshots.failed(snapshot, str(error.message))
        raise


def check_agents(clients: Clients, *hosts: Host) -> None:
    """Raise HostOutdatedError while an agent is too old to be trusted with the start of a shop that has
    data; asked before such a shop is stopped.
    """
    for host in hosts:
        clients.driver_for(host).volumes_here(())


def chain_of(snapshot: Snapshot) -> tuple[VolumePart, ...]:
    """Return the snapshot's archives as a driver takes them."""
    return tuple(
        VolumePart(part.snapshot, part.sha256, part.archive_bytes, part.get_url)
        for part in snapshots.chain_of(snapshot)
    )


def read_again(snapshot: Snapshot) -> None:
    """Have the archives that the state needs read back whole, unless they are large or were just read.

    One that is damaged is marked so at once. Raises SnapshotLostError when the state cannot be had,
    RepositoryError when that is not to be known just now.
    """
    names = [part.snapshot for part in snapshots.chain_of(snapshot)]
    due.check_chain_lately(snapshot.tenant, names, most_bytes=READ_AGAIN_BYTES)
    snapshots.chain_of(snapshot)


def bring(lease: Lease, operation: Operation, placement: Placement, clients: Clients) -> Snapshot:
    """Make the volume at the place be the newest state that is kept."""
    snapshot = snapshots.newest(operation.tenant)
    if snapshot is None:
        raise SnapshotLostError("no copy of the shop's data is kept")
    load(lease, operation, placement, clients, snapshot)
    return snapshot


def load(
    lease: Lease,
    operation: Operation,
    placement: Placement,
    clients: Clients,
    snapshot: Snapshot,
    *,
    only_missing: bool = False,
) -> VolumeLoaded:
    """Make the volume at the place be exactly what it was in the snapshot.

    only_missing: unless it is there after all; then the answer names no snapshot.
    Where the host says that an archive is not as it should be, it is looked into at once. Raises
    SnapshotLostError when the copy is not to be used any more, RepositoryError when it cannot be had just
    now, else what the driver raises.
    """
    leases.check_ours(lease)
    wanted = VolumeLoad(
        instance_id=operation.instance.public_id,
        volume=mapping.volume_of(operation),
        chain=chain_of(snapshot),
        ceiling_bytes=operation.tenant.plan.disk_bytes,
        # The archives say who owns what.
        uid=0,
        gid=0,
        only_missing=only_missing,
    )
    try:
        return clients.driver_for(placement.host).load_volume(
            wanted, fence=mapping.fence_of(placement, lease)
        )
    except (TransferFailedError, ArchiveDamagedError) as error:
        _look_into(snapshot, wanted, error)
        raise


def _look_into(snapshot: Snapshot, wanted: VolumeLoad, error: RuntimeCoreError) -> None:
    """Read again what a host could not use; a host's word alone throws no copy away."""
    names = [part.snapshot for part in wanted.chain]
    try:
        is_whole = due.check_chain(snapshot.tenant, names)
    except RepositoryError as away:
        raise TransferFailedError(f"{error.message} ({away})") from error
    if not is_whole:
        raise SnapshotLostError(f"{snapshot.public_id} is damaged: {error.message}") from error
    blamed = snapshots.of_id(snapshot.tenant, str(error.details.get("snapshot", "")))
    if isinstance(error, ArchiveDamagedError) and blamed and blamed.public_id in names:
        marks.unusable(blamed, error.message)
        raise SnapshotLostError(
            f"{snapshot.public_id} cannot be loaded: {error.message}"
        ) from error
