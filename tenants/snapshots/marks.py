"""What is found out about copies that are kept: damaged, of no use to a host, or right after all."""

from django.db import connection, transaction
from django.db.models.functions import Now

from tenants.core import alarms, transitions
from tenants.core.alarm_kinds import SNAPSHOTS_DAMAGED, SNAPSHOTS_UNUSABLE
from tenants.shops.models import Tenant
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import SnapshotDoubt, SnapshotState


@transaction.atomic
def damaged(snapshot: Snapshot, message: str) -> int:
    """Mark a snapshot whose archive is not what was kept; snapshots that build on it no longer count either.

    An alarm is raised, and the next snapshot is a full one, as soon as may be. Returns how many were lost.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _LOSE,
            {
                "snapshot": snapshot.pk,
                "kept": SnapshotState.KEPT.value,
                "failed": SnapshotState.FAILED.value,
                "message": message[:300],
            },
        )
        lost = int(cursor.rowcount)
    if not lost:
        return 0
    transitions.journal(
        "snapshot", snapshot.pk, SnapshotState.KEPT, SnapshotState.FAILED, reason=message
    )
    _want_full(snapshot)
    alarms.begin(SNAPSHOTS_DAMAGED.key(), alarm_of_damaged(lost))
    return lost


@transaction.atomic
def unusable(snapshot: Snapshot, message: str) -> int:
    """Mark a snapshot whose archive is intact, but of which a host could not make the shop's data.

    It is kept, because the host may be wrong, and used no more. Returns how many need it, itself among
    them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _DOUBT,
            {
                "snapshot": snapshot.pk,
                "kept": SnapshotState.KEPT.value,
                "doubt": SnapshotDoubt.UNUSABLE.value,
                "message": message[:300],
            },
        )
        count = int(cursor.rowcount)
    if count:
        _want_full(snapshot)
        alarms.begin(
            SNAPSHOTS_UNUSABLE.key(), f"{count} kept snapshots could not be loaded: {message}"
        )
    return count


@transaction.atomic
def accept(tenant: Tenant) -> int:
    """Accept the shop's data as it is now; returns how many copies were in doubt."""
    rows = Snapshot.objects.filter(tenant=tenant, state=SnapshotState.KEPT)
    return rows.filter(doubt__in=(SnapshotDoubt.SHRUNK, SnapshotDoubt.ANEW)).update(doubt="")


def alarm_of_damaged(count: int) -> str:
    """Return the alarm about archives that are not what was put there."""
    return f"{count} kept snapshots are damaged or missing. Check the repository"


def _want_full(snapshot: Snapshot) -> None:
    SnapshotSchedule.objects.filter(tenant_id=snapshot.tenant_id).update(
        due_at=Now(), wants_full=True
    )


_NEEDS = """
WITH RECURSIVE lost AS (
    SELECT id FROM tenants_snapshot WHERE id = %(snapshot)s
    UNION
    SELECT one.id FROM tenants_snapshot AS one JOIN lost ON one.base_id = lost.id
)
"""
_LOSE = (
    _NEEDS
    + """
UPDATE tenants_snapshot SET state = %(failed)s, message = %(message)s
  FROM lost WHERE tenants_snapshot.id = lost.id AND tenants_snapshot.state = %(kept)s
"""
)
_DOUBT = (
    _NEEDS
    + """
UPDATE tenants_snapshot SET doubt = %(doubt)s, message = %(message)s
  FROM lost WHERE tenants_snapshot.id = lost.id AND tenants_snapshot.state = %(kept)s
   AND tenants_snapshot.doubt <> %(doubt)s
"""
)
