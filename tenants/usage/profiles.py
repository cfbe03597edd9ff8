"""Profiles of instances in the record: read and written many at once; what is in them is the scheduler's."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.db.models.functions import Now

from tenants.placement.bookings import Booking
from tenants.usage.models import InstanceProfile, Prior


@dataclass(frozen=True, slots=True)
class PackedProfile:
    """An instance's profile as it is stored."""

    instance_id: int
    app_id: int
    plan_id: int
    packed: bytes
    hours: int
    is_mature: bool
    until: datetime


# One statement for a host's instances, in one order, so that two hosts an instance was on do not deadlock.
_STORE = """
INSERT INTO tenants_instanceprofile
       (instance_id, app_id, plan_id, packed, windows, is_mature, folded_until)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bytea[], %s::int[], %s::bool[],
                     %s::timestamptz[]) AS rows (instance)
 ORDER BY instance
ON CONFLICT (instance_id) DO UPDATE
   SET app_id = EXCLUDED.app_id, plan_id = EXCLUDED.plan_id, packed = EXCLUDED.packed,
       windows = EXCLUDED.windows, is_mature = EXCLUDED.is_mature,
       folded_until = EXCLUDED.folded_until
"""


def packed_of(instance_ids: Collection[int]) -> dict[int, bytes]:
    """Profiles by instance; those never measured have none. Locked until the transaction ends."""
    rows = InstanceProfile.objects.select_for_update().filter(instance__in=instance_ids)
    return {pk: bytes(packed) for pk, packed in rows.order_by("pk").values_list("pk", "packed")}


_STORE_WEEK = """
INSERT INTO tenants_hostweek (host_id, beyond, at) VALUES (%s, %s, statement_timestamp())
ON CONFLICT (host_id) DO UPDATE SET beyond = EXCLUDED.beyond, at = EXCLUDED.at
"""
# Readers of the pool look at the versions of hosts' rows (workers/pool/reader.py).
_TOUCH = "UPDATE tenants_host SET placed = placed WHERE id = %s"


@transaction.atomic
def store_week(host_id: int, beyond: bytes) -> None:
    """Keep what the host's recorded week differs from what is booked there."""
    with connection.cursor() as cursor:
        cursor.execute(_TOUCH, [host_id])
        cursor.execute(_STORE_WEEK, [host_id, beyond])


def store(rows: Sequence[PackedProfile]) -> None:
    """Write these profiles, new or not; one statement."""
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _STORE,
            [
                [row.instance_id for row in rows],
                [row.app_id for row in rows],
                [row.plan_id for row in rows],
                [row.packed for row in rows],
                [row.hours for row in rows],
                [row.is_mature for row in rows],
                [row.until for row in rows],
            ],
        )


def mature_of(app_id: int, plan_id: int, *, most: int) -> list[bytes]:
    """Profiles of the newest instances of this kind that were seen for long enough."""
    rows = InstanceProfile.objects.filter(app=app_id, plan=plan_id, is_mature=True)
    return [
        bytes(packed)
        for packed in rows.order_by("-instance").values_list("packed", flat=True)[:most]
    ]


def store_prior(
    app_id: int, plan_id: int, booking: Booking, *, instances: int, is_early: bool = False
) -> None:
    """From now on new instances of this kind are booked at this; is_early: from a short look."""
    Prior.objects.update_or_create(
        app_id=app_id,
        plan_id=plan_id,
        defaults={
            "cpu_millis": booking.cpu_millis,
            "memory_bytes": booking.memory_bytes,
            "disk_bytes": booking.disk_bytes,
            "shape": list(booking.shape),
            "instances": instances,
            "is_early": is_early,
            "at": Now(),
        },
    )
