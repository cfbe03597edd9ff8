"""Copies of shops' data as people and programs ask for them; only reads."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import QuerySet

from tenants.shops.models import Tenant
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import SnapshotState


def of(tenant: Tenant) -> QuerySet[Snapshot]:
    """Return the tenant's kept copies, newest first."""
    return Snapshot.objects.filter(tenant=tenant, state=SnapshotState.KEPT).order_by(
        "-taken_at", "-pk"
    )


def of_id(tenant: Tenant, public_id: str) -> Snapshot | None:
    """Return one kept copy of this tenant and of no other."""
    return of(tenant).filter(public_id=public_id).first()


def candidates(
    tenant: Tenant, *, excluding: Collection[str] = (), limit: int = 20
) -> list[Snapshot]:
    """Kept copies, the newest first, from which the data can come back: each with its whole chain."""
    with connection.cursor() as cursor:
        cursor.execute(
            _CANDIDATES,
            {
                "tenant": tenant.pk,
                "kept": SnapshotState.KEPT.value,
                "excluding": list(excluding),
                "limit": limit,
            },
        )
        pks = [pk for (pk,) in cursor.fetchall()]
    rows = Snapshot.objects.select_related("base", "tenant").in_bulk(pks)
    return [rows[pk] for pk in pks if pk in rows]


# Whole: walked up from the full archives, so that what has lost its base is not met at all.
_CANDIDATES = """
WITH RECURSIVE whole AS (
    SELECT id, public_id, started_at FROM tenants_snapshot
     WHERE tenant_id = %(tenant)s AND state = %(kept)s AND base_id IS NULL AND depth = 0
       AND doubt <> 'unusable'
    UNION ALL
    SELECT one.id, one.public_id, one.started_at
      FROM tenants_snapshot AS one JOIN whole ON one.base_id = whole.id
     WHERE one.tenant_id = %(tenant)s AND one.state = %(kept)s AND one.doubt <> 'unusable'
)
SELECT id FROM whole WHERE NOT public_id = ANY(%(excluding)s)
 ORDER BY started_at DESC, id DESC LIMIT %(limit)s
"""


def is_being_taken(tenant_id: str, snapshot_id: str) -> bool:
    """Return whether the archive of this snapshot is still expected."""
    return Snapshot.objects.filter(
        public_id=snapshot_id, tenant__public_id=tenant_id, state=SnapshotState.TAKING
    ).exists()


def schedule_of(tenant: Tenant) -> SnapshotSchedule | None:
    """Return when the next one is due, and whether the last ones failed."""
    return SnapshotSchedule.objects.filter(tenant=tenant).first()


@dataclass(frozen=True, slots=True)
class Late:
    """A shop whose data is in no copy that is young enough."""

    slug: str
    since: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Ages:
    """Ages of the copies of the whole pool. oldest: None while nobody has a schedule."""

    late: int
    oldest: timedelta | None


# Late: no state of the last two periods is in a copy. The shortest period of all plans bounds what the
# index has to give; each of those is then held against its own plan.
_MOMENT = "COALESCE(schedule.taken_at, schedule.since)"
_LATE = f"""
SELECT tenant.slug, {_MOMENT} AS moment, schedule.message, count(*) OVER ()
  FROM tenants_snapshotschedule AS schedule
  JOIN tenants_tenant AS tenant ON tenant.id = schedule.tenant_id AND tenant.state = 'live'
  JOIN tenants_plan AS plan ON plan.id = tenant.plan_id
 WHERE {_MOMENT} < statement_timestamp()
       - 2 * interval '1 minute' * (SELECT min(snapshot_period_minutes) FROM tenants_plan)
   AND {_MOMENT} < statement_timestamp() - 2 * interval '1 minute' * plan.snapshot_period_minutes
 ORDER BY moment LIMIT %(limit)s
"""  # noqa: S608 - the parts are constants
_OLDEST = f"""
SELECT statement_timestamp() - {_MOMENT}
  FROM tenants_snapshotschedule AS schedule
  JOIN tenants_tenant AS tenant ON tenant.id = schedule.tenant_id AND tenant.state = 'live'
 ORDER BY {_MOMENT} LIMIT 1
"""  # noqa: S608


def late(limit: int) -> tuple[int, tuple[Late, ...]]:
    """Return how many shops have no copy of the last two periods, and the longest ago of them."""
    with connection.cursor() as cursor:
        cursor.execute(_LATE, {"limit": limit})
        rows = cursor.fetchall()
    return (rows[0][3] if rows else 0), tuple(Late(*row[:3]) for row in rows)


def ages() -> Ages:
    """Return how old the copies are, over the whole pool; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT count FROM ({_LATE}) AS late), ({_OLDEST})",  # noqa: S608
            {"limit": 1},
        )
        count, oldest = cursor.fetchone()
    return Ages(count or 0, oldest)


# A copy in doubt with none in order after it. Reads the few rows of the index of doubtful copies.
_DOUBTFUL = """
SELECT tenant.slug, count(*) OVER ()
  FROM (SELECT tenant_id, max(started_at) AS latest FROM tenants_snapshot
         WHERE state = 'kept' AND doubt <> '' AND doubt = %(doubt)s GROUP BY tenant_id) AS doubted
  JOIN tenants_tenant AS tenant ON tenant.id = doubted.tenant_id AND tenant.state = 'live'
 WHERE NOT EXISTS (SELECT FROM tenants_snapshot AS newer
                    WHERE newer.tenant_id = doubted.tenant_id AND newer.state = 'kept'
                      AND newer.doubt = '' AND newer.started_at > doubted.latest)
 ORDER BY doubted.latest LIMIT %(limit)s
"""


def doubtful(doubt: str, limit: int) -> tuple[int, tuple[str, ...]]:
    """Return how many shops' newest copies are in that doubt, and the slugs of the first of them."""
    with connection.cursor() as cursor:
        cursor.execute(_DOUBTFUL, {"doubt": doubt, "limit": limit})
        rows = cursor.fetchall()
    return (rows[0][1] if rows else 0), tuple(slug for slug, _ in rows)
