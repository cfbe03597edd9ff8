"""Copies of a shop as its host puts them away, of any age and content."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from django.db import connection
from django.db.models.functions import Now

from tenants.shops.models import Tenant
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot
from tenants.snapshots.snapshots import Saved
from tenants.states import (
    SnapshotReason,
)


def put(snapshot: Snapshot, place: Path, content: bytes = b"archive") -> Saved:
    """Do as a host does with what it is told to put away."""
    path = place / snapshot.tenant.public_id / snapshot.public_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    base = snapshot.base.public_id if snapshot.base else ""
    return Saved(base, sha, len(content), 10 * len(content), 3, 0.0)


def keep(tenant: Tenant, place: Path, reason: str = SnapshotReason.PERIODIC) -> Snapshot:
    snapshot = snapshots.begin(tenant, reason)
    return snapshots.kept(snapshot, put(snapshot, place))


def age(snapshot: Snapshot, hours: float) -> None:
    moment = Now() - timedelta(hours=hours)
    Snapshot.objects.filter(pk=snapshot.pk).update(taken_at=moment, started_at=moment)


def full(
    tenant: Tenant,
    place: Path,
    *,
    reason: str = SnapshotReason.PERIODIC,
    files: int = 20,
    volume_bytes: int = 10_000_000,
    is_anew: bool = False,
) -> Snapshot:
    """A full copy that holds so much."""
    snapshot = snapshots.begin(tenant, reason)
    saved = put(snapshot, place)
    return snapshots.kept(
        snapshot,
        replace(saved, base="", files=files, volume_bytes=volume_bytes, is_anew=is_anew),
    )


def same_hour(hours: float = 2) -> None:
    """All copies there are were made in one hour, that long ago, in the order they were made in."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tenants_snapshot SET taken_at = date_trunc('hour', statement_timestamp())"
            " - %s * interval '1 hour' + (id %% 1000) * interval '1 second',"
            " started_at = date_trunc('hour', statement_timestamp())"
            " - %s * interval '1 hour' + (id %% 1000) * interval '1 second'",
            [hours, hours],
        )
