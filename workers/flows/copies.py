"""The newest copy of a tenant's data that is kept off its host, and how a host gets it."""

from dataclasses import dataclass
from datetime import datetime

from runtime.driver import Driver, Fence, VolumeLoad, VolumePart
from tenants.models import Operation, Placement
from workers import fleet
from workers.flows import volumes


@dataclass(frozen=True, slots=True)
class Copy:
    """A kept state of a volume: its snapshot's id, the moment it shows, and its archives in order."""

    snapshot: str
    taken_at: datetime
    chain: tuple[VolumePart, ...]


def newest(operation: Operation) -> Copy | None:
    """The newest copy that is kept; None when there is none."""
    found = volumes.newest(operation.tenant)
    if found is None:
        return None
    snapshot, taken_at = found
    return Copy(snapshot.public_id, taken_at, volumes.chain_of(snapshot))


def load(
    copy: Copy, operation: Operation, placement: Placement, driver: Driver, *, fence: Fence
) -> None:
    """Make the volume at the place be the copy's state. Raises what the driver raises."""
    driver.load_volume(
        VolumeLoad(
            instance_id=operation.instance.public_id,
            volume=fleet.volume_of(operation),
            chain=copy.chain,
            ceiling_bytes=operation.tenant.plan.disk_bytes,
            uid=0,
            gid=0,
        ),
        fence=fence,
    )
