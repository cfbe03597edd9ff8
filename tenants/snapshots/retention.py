"""Which copies are let go, and which of the newer ones count for that.

A copy lets older ones go only when nothing speaks against it. One that holds far less than the one
before, or that is of a volume that began empty, is kept apart: the last copies in order stay until a
person says that the shop is right as it is, or four weeks have passed.
"""

from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from tenants.snapshots.models import Snapshot
from tenants.states import SnapshotDoubt, SnapshotReason, SnapshotState

# Made beside the regular ones, and kept for a week: none of these takes a regular one's place.
EXTRA_REASONS = (SnapshotReason.RISKY, SnapshotReason.ASKED)
# Less than this part of the last copy in order, and the shop's data may have been lost.
_SHRUNK = 0.5
_LEAST_FILES, _LEAST_BYTES = 4, 64 * 1024
# After so long the smaller content is the shop's own, whatever became of the rest.
_DOUBTED = timedelta(days=28)


def doubt_of(snapshot: Snapshot, *, files: int, volume_bytes: int, is_anew: bool) -> str:
    """Return whether what it holds may not be what the shop needs: compared with the last copy in order.

    A shop whose volume was lost is copied like any other; the copy of what is left must not let the
    good ones go. Once in doubt, later copies are too, until the content is back or somebody accepts it.
    """
    rows = Snapshot.objects.filter(tenant=snapshot.tenant_id, state=SnapshotState.KEPT)
    rows = rows.order_by("-started_at", "-pk")
    good = rows.filter(doubt="", taken_at__gt=Now() - _DOUBTED).first()
    if good is None:
        return ""
    if _has_shrunk(files, good.files, _LEAST_FILES) or _has_shrunk(
        volume_bytes, good.volume_bytes, _LEAST_BYTES
    ):
        return SnapshotDoubt.SHRUNK
    last = rows.exclude(doubt=SnapshotDoubt.UNUSABLE).first()
    was_anew = last is not None and last.doubt == SnapshotDoubt.ANEW
    return SnapshotDoubt.ANEW if is_anew or was_anew else ""


def _has_shrunk(now: int, before: int, least: int) -> bool:
    return now < before and (now == 0 or (before >= least and now < before * _SHRUNK))


# What is kept of a tenant's: the newest; the last of each hour of a day, of each day of a week, of each
# week of four; for a week what was made before a change or asked for; what somebody is just going back
# to; and whatever these are differences to, or one that is being made is.
# Copies in doubt are counted apart: they never take the place of one in order. What was asked for takes
# the place of a regular one only where there is none.
_THIN_OUT = """
WITH RECURSIVE counted AS (
    SELECT id, base_id, public_id, reason, taken_at, started_at, doubt <> '' AS apart,
           reason IN ('risky', 'asked') AS extra
      FROM tenants_snapshot WHERE tenant_id = %(tenant)s AND state = %(kept)s
), ranked AS (
    SELECT *,
           row_number() OVER (PARTITION BY apart ORDER BY started_at DESC, id DESC) AS place,
           row_number() OVER (PARTITION BY apart, date_trunc('hour', taken_at) ORDER BY extra, started_at DESC, id DESC) AS of_hour,
           row_number() OVER (PARTITION BY apart, date_trunc('day', taken_at) ORDER BY extra, started_at DESC, id DESC) AS of_day,
           row_number() OVER (PARTITION BY apart, date_trunc('week', taken_at) ORDER BY extra, started_at DESC, id DESC) AS of_week
      FROM counted
), needed AS (
    SELECT id, base_id FROM ranked
     WHERE place = 1
        OR of_hour = 1 AND taken_at > statement_timestamp() - interval '24 hours'
        OR of_day = 1 AND taken_at > statement_timestamp() - interval '7 days'
        OR of_week = 1 AND taken_at > statement_timestamp() - interval '28 days'
        OR extra AND taken_at > statement_timestamp() - interval '7 days'
        OR id IN (SELECT base_id FROM tenants_snapshot
                   WHERE tenant_id = %(tenant)s AND state = 'taking')
        OR public_id IN (
           SELECT value FROM tenants_operation, jsonb_each_text(arguments)
            WHERE tenant_id = %(tenant)s AND state IN ('pending', 'running')
              AND key IN ('snapshot', 'safety'))
    UNION
    SELECT one.id, one.base_id FROM tenants_snapshot AS one JOIN needed ON one.id = needed.base_id
)
UPDATE tenants_snapshot SET state = %(gone)s, message = 'newer ones are kept'
 WHERE tenant_id = %(tenant)s AND state = %(kept)s AND id NOT IN (SELECT id FROM needed)
"""  # noqa: E501


def thin_out(tenant_pk: int) -> int:
    """Let go of what is older than needed; how many. Their archives are deleted by and by."""
    with connection.cursor() as cursor:
        cursor.execute(
            _THIN_OUT,
            {
                "tenant": tenant_pk,
                "kept": SnapshotState.KEPT.value,
                "gone": SnapshotState.GONE.value,
            },
        )
        return int(cursor.rowcount)
