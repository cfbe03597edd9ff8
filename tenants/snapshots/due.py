"""What is due: the next snapshot of each tenant, archives to be deleted, archives to be read again.

Whatever the number of tenants, each round is a few statements over indexes, with a LIMIT.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from tenants.errors import StateConflictError
from tenants.shops.models import Tenant
from tenants.snapshots import marks, repositories, snapshots
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import SnapshotReason, SnapshotState, TenantState

# A tenant that was given to a worker is not given out again before this, whatever becomes of the worker.
CLAIM_SECONDS = 45 * 60
_SEEN_SECONDS = 10
_ABANDONED = timedelta(seconds=CLAIM_SECONDS)
_LATER = timedelta(minutes=5)
_FAILED_KEPT = timedelta(days=1)
_JUST_CHECKED = timedelta(minutes=10)
_CHECK_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Due:
    """A tenant whose data is to be copied, with what its flow needs to know."""

    tenant_pk: int
    failures: int


@dataclass(frozen=True, slots=True)
class GiveWay:
    """How long copies that nobody has asked for wait once they are due, because people wait for starts.

    first_seconds: the first copies of shops on hosts that start others just now.
    """

    seconds: float
    first_seconds: float
    starting_hosts: Collection[int]


# A new shop within a minute: without a copy it could not come back before its host. One from before
# there were copies at a random moment of a period, so that a whole pool does not come at once.
_ENROL = """
INSERT INTO tenants_snapshotschedule (tenant_id, due_at, failures, is_asked, message)
SELECT tenant.id,
       statement_timestamp() + random() * interval '1 minute' * CASE
           WHEN tenant.created_at > statement_timestamp() - interval '1 hour' THEN 1
           ELSE plan.snapshot_period_minutes
       END,
       0, false, ''
  FROM tenants_tenant AS tenant
  JOIN tenants_plan AS plan ON plan.id = tenant.plan_id
 WHERE tenant.state = 'live' AND (%(tenant)s IS NULL OR tenant.id = %(tenant)s)
   AND NOT EXISTS (SELECT FROM tenants_snapshotschedule AS one WHERE one.tenant_id = tenant.id)
   AND EXISTS (SELECT FROM tenants_instance AS instance
                 JOIN tenants_release AS release ON release.id = instance.release_id
                WHERE instance.tenant_id = tenant.id AND instance.state <> 'retired'
                  AND release.has_volume)
 LIMIT %(limit)s
ON CONFLICT DO NOTHING
"""

# Locked first, so that two rounds never take the same ones. Of a host only some at once, of a host that
# is not heard none, of a tenant that something else is being done to none: that ends, and then it is due.
_CLAIM = """
WITH due AS (
    SELECT schedule.tenant_id, schedule.failures, placement.host_id, schedule.due_at
      FROM tenants_snapshotschedule AS schedule
      JOIN tenants_tenant AS tenant ON tenant.id = schedule.tenant_id AND tenant.state = 'live'
      JOIN tenants_instance AS instance
        ON instance.tenant_id = tenant.id AND instance.state IN ('running', 'failed')
      JOIN tenants_placement AS placement
        ON placement.instance_id = instance.id AND placement.until IS NULL
      JOIN tenants_hostreport AS report
        ON report.host_id = placement.host_id
       AND report.seen_at > statement_timestamp() - %(seen)s * interval '1 second'
     WHERE schedule.due_at <= statement_timestamp()
       AND (is_asked OR schedule.due_at <= statement_timestamp() - interval '1 second' * CASE
               WHEN schedule.taken_at IS NULL AND placement.host_id = ANY(%(starting)s)
               THEN %(first_waits)s ELSE %(waits)s
           END)
       AND NOT (placement.host_id = ANY(%(full)s))
       AND NOT EXISTS (SELECT FROM tenants_operation AS operation
                        WHERE operation.tenant_id = tenant.id
                          AND operation.state IN ('pending', 'running'))
     ORDER BY schedule.due_at
     LIMIT %(look)s
       FOR UPDATE OF schedule SKIP LOCKED
), chosen AS (
    SELECT * FROM (
        SELECT due.*, row_number() OVER (PARTITION BY host_id ORDER BY due_at) AS place FROM due
    ) AS numbered
     WHERE place <= %(of_one_host)s ORDER BY due_at LIMIT %(limit)s
)
UPDATE tenants_snapshotschedule AS schedule
   SET due_at = statement_timestamp() + %(claim)s * interval '1 second'
  FROM chosen WHERE chosen.tenant_id = schedule.tenant_id
RETURNING schedule.tenant_id, chosen.failures
"""


def enrol(limit: int) -> int:
    """Give a schedule to live tenants with a volume that have none yet; how many."""
    return _enrol(None, limit)


def enrol_one(tenant: Tenant) -> None:
    """Give a schedule to a tenant that has just gone live, if there is data to copy."""
    _enrol(tenant.pk, 1)


def _enrol(tenant_pk: int | None, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_ENROL, {"tenant": tenant_pk, "limit": limit})
        return int(cursor.rowcount)


def claim_due(
    limit: int,
    *,
    of_one_host: int,
    full_hosts: Collection[int] = (),
    give_way: GiveWay | None = None,
) -> list[Due]:
    """Take tenants whose data is to be copied now; each is nobody else's until it is rescheduled."""
    way = give_way or GiveWay(0, 0, ())
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "limit": limit,
                "look": limit * 4,
                "of_one_host": of_one_host,
                "full": list(full_hosts),
                "seen": _SEEN_SECONDS,
                "claim": CLAIM_SECONDS,
                "waits": way.seconds,
                "first_waits": way.first_seconds,
                "starting": list(way.starting_hosts),
            },
        )
        return [Due(*row) for row in cursor.fetchall()]


# A failure is tried again after 1, 2, 4 … minutes, never later than a period would have it.
_RESCHEDULE = """
UPDATE tenants_snapshotschedule AS schedule
   SET is_asked = is_asked AND failures > 0,
       due_at = statement_timestamp() + interval '1 minute' * (0.9 + 0.2 * random()) * CASE
           WHEN schedule.failures = 0 THEN plan.snapshot_period_minutes
           ELSE LEAST(plan.snapshot_period_minutes, power(2, LEAST(schedule.failures, 10) - 1))
       END
  FROM tenants_tenant AS tenant JOIN tenants_plan AS plan ON plan.id = tenant.plan_id
 WHERE tenant.id = schedule.tenant_id AND schedule.tenant_id = %(tenant)s
"""


def reschedule(tenant_pk: int) -> None:
    """Say when the tenant's next snapshot is due, after one that was kept or has failed."""
    with connection.cursor() as cursor:
        cursor.execute(_RESCHEDULE, {"tenant": tenant_pk})


def ask(tenant: Tenant) -> SnapshotSchedule:
    """Ask for a snapshot now; the next round takes it. Raises StateConflictError if none can be taken."""
    if tenant.state != TenantState.LIVE:
        raise StateConflictError("only a shop that is set up has data to copy")
    SnapshotSchedule.objects.update_or_create(
        tenant=tenant, defaults={"due_at": Now(), "is_asked": True}
    )
    return SnapshotSchedule.objects.get(tenant=tenant)


def reason_of(tenant: Tenant) -> str:
    """Return why the tenant's next snapshot is made."""
    asked = SnapshotSchedule.objects.filter(tenant=tenant, is_asked=True).exists()
    return SnapshotReason.ASKED if asked else SnapshotReason.PERIODIC


def postpone(tenant_pk: int) -> None:
    """Look again in a few minutes: something else is going on."""
    SnapshotSchedule.objects.filter(pk=tenant_pk).update(due_at=Now() + _LATER)


def is_being_taken(tenant_pk: int) -> bool:
    """Return whether somebody is making a snapshot of the tenant's data now."""
    return Snapshot.objects.filter(
        tenant_id=tenant_pk, state=SnapshotState.TAKING, started_at__gt=Now() - _ABANDONED
    ).exists()


def being_taken() -> tuple[int, list[int]]:
    """Return how many snapshots are being made now, and on which hosts, each as often as it has one."""
    rows = Snapshot.objects.filter(
        state=SnapshotState.TAKING, started_at__gt=Now() - _ABANDONED
    ).values_list("host_id", flat=True)
    hosts = [host for host in rows if host is not None]
    return len(rows), hosts


@transaction.atomic
def give_up_abandoned(limit: int) -> int:
    """Fail snapshots that were begun long ago and of which no worker has reported since."""
    rows = Snapshot.objects.select_for_update(skip_locked=True).filter(
        state=SnapshotState.TAKING, started_at__lt=Now() - _ABANDONED
    )
    found = list(rows[:limit])
    for snapshot in found:
        snapshots.failed(snapshot, "the worker stopped before the snapshot was finished")
    return len(found)


def delete_gone(limit: int) -> int:
    """Delete archives nobody needs, then forget them; how many. RepositoryError when it is away.

    The repository is asked with no transaction open. A copy that is let go never comes back, so a
    second time does no harm: who dies in here leaves rows that are found again.
    """
    old = Snapshot.objects.filter(state=SnapshotState.FAILED, started_at__lt=Now() - _FAILED_KEPT)
    Snapshot.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).update(
        state=SnapshotState.GONE
    )
    # What a kept one is a difference to is never deleted, however it came to be let go.
    needed = Snapshot.objects.filter(
        base=OuterRef("pk"), state__in=(SnapshotState.KEPT, SnapshotState.TAKING)
    )
    gone = list(
        Snapshot.objects.filter(~Exists(needed), state=SnapshotState.GONE)
        .order_by("started_at")
        .values_list("pk", "tenant__public_id", "public_id")[:limit]
    )
    if not gone:
        return 0
    repositories.current().remove([f"{tenant}/{name}" for _, tenant, name in gone])
    Snapshot.objects.filter(pk__in=[pk for pk, *_ in gone], state=SnapshotState.GONE).delete()
    return len(gone)


def longest_unchecked(limit: int) -> list[Snapshot]:
    """Kept snapshots whose archives nobody has read for the longest time, if that is long."""
    rows = Snapshot.objects.filter(
        state=SnapshotState.KEPT, checked_at__lt=Now() - _CHECK_EVERY
    ).select_related("tenant")
    return list(rows.order_by(F("checked_at").asc(nulls_first=True))[:limit])


def check(snapshot: Snapshot) -> bool:
    """Read an archive again; False when it is not what was kept, which is then written down."""
    found = repositories.current().read_back(f"{snapshot.tenant.public_id}/{snapshot.public_id}")
    if found == repositories.StoredObject(snapshot.archive_bytes, snapshot.sha256):
        Snapshot.objects.filter(pk=snapshot.pk).update(checked_at=Now())
        return True
    what = "is not there any more" if found is None else "is not what was put there"
    marks.damaged(snapshot, f"read again, its archive {what}")
    return False


def check_chain(tenant: Tenant, names: Collection[str]) -> bool:
    """Read these archives of a tenant again; whether all are what was kept. See `check`."""
    rows = Snapshot.objects.filter(tenant=tenant, public_id__in=names, state=SnapshotState.KEPT)
    found = list(rows.select_related("tenant").order_by("depth"))
    return len(found) == len(names) and all(check(snapshot) for snapshot in found)


def check_chain_lately(tenant: Tenant, names: Collection[str], *, most_bytes: int) -> None:
    """Check a chain as check_chain does, if it was not read lately, and only as far as most_bytes go."""
    rows = Snapshot.objects.filter(tenant=tenant, public_id__in=names, state=SnapshotState.KEPT)
    left = most_bytes
    for snapshot in rows.exclude(checked_at__gt=Now() - _JUST_CHECKED).select_related("tenant"):
        left -= snapshot.archive_bytes
        if left < 0:
            return
        check(snapshot)


def forget_strangers() -> int:
    """Drop the schedules of tenants that are not live any more; how many."""
    gone = SnapshotSchedule.objects.exclude(tenant__state__in=("live", "requested", "failed"))
    pks = list(gone.values_list("pk", flat=True)[:500])
    return SnapshotSchedule.objects.filter(pk__in=pks).delete()[0]
