"""Copies of tenants' data: begun, kept once they were read back, thinned out, lost.

A snapshot counts from the moment it is kept, and it is kept only after the archive was read back whole
and is what the host said it had sent. All times are PostgreSQL's.
"""

from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from tenants import repositories
from tenants.errors import SnapshotLostError, StateConflictError
from tenants.models import Host, Snapshot, SnapshotSchedule, Tenant
from tenants.services import transitions
from tenants.states import SNAPSHOT_TRANSITIONS, SnapshotReason, SnapshotState

# As many differences one after another; then a full one. A chain is read from its beginning.
DEPTH_CEILING = 24
# What an archive holds beside the data: names, owners and rights of entries.
ARCHIVE_EXTRA_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """What a host says of an archive it has sent. base: "" when it is a full one."""

    base: str
    sha256: str
    archive_bytes: int
    volume_bytes: int
    files: int
    frozen_ms: float


@dataclass(frozen=True, slots=True)
class Part:
    """One archive of a chain, with an address at which a host gets it for a while."""

    snapshot: str
    sha256: str
    archive_bytes: int
    get_url: str


@transaction.atomic
def begin(tenant: Tenant, reason: str, *, host: Host | None = None) -> Snapshot:
    """Write down that a copy is being made now; `base` is what it may be a difference to.

    One that was begun before and has not come to an end is given up: the newer state is wanted.
    """
    Tenant.objects.select_for_update(no_key=True).only("pk").get(pk=tenant.pk)
    for older in Snapshot.objects.filter(tenant=tenant, state=SnapshotState.TAKING):
        _move(older, SnapshotState.FAILED, "another one was begun")
    base = newest(tenant)
    if base is not None and base.depth + 1 >= DEPTH_CEILING:
        base = None
    snapshot = Snapshot.objects.create(
        tenant=tenant, reason=SnapshotReason(reason), host=host, base=base, taken_at=Now()
    )
    snapshot.refresh_from_db(fields=["taken_at", "started_at"])
    return snapshot


def put_url(snapshot: Snapshot) -> str:
    """Where its archive is to be PUT."""
    return repositories.current().put_address(_key(snapshot), most=_most_bytes(snapshot))


def kept(snapshot: Snapshot, saved: Saved) -> Snapshot:
    """Read the archive back and, when it is what the host says, count the snapshot from now on.

    SnapshotLostError when it is not, StateConflictError when another was begun meanwhile.
    """
    try:
        found = repositories.current().read_back(_key(snapshot), most=_most_bytes(snapshot))
    except repositories.RepositoryError as error:
        raise SnapshotLostError(str(error)) from error
    if found != repositories.Found(saved.archive_bytes, saved.sha256):
        what = "nothing" if found is None else f"{found.size} bytes of something else"
        raise SnapshotLostError(
            f"the repository holds {what} where {saved.archive_bytes} bytes of"
            f" {snapshot.public_id} should be"
        )
    return _record(snapshot, saved)


@transaction.atomic
def unchanged(snapshot: Snapshot) -> Snapshot:
    """The volume was still as it is in `base`: nothing was sent, and base is as good as new.

    Returns base. StateConflictError when another snapshot was begun meanwhile.
    """
    base = snapshot.base
    if base is None:
        raise SnapshotLostError("there is nothing the volume could be unchanged from")
    changed = Snapshot.objects.filter(pk=base.pk, state=SnapshotState.KEPT).update(
        taken_at=Greatest(F("taken_at"), snapshot.taken_at)
    )
    if (
        not changed
        or not Snapshot.objects.filter(pk=snapshot.pk, state=SnapshotState.TAKING).delete()[0]
    ):
        raise StateConflictError(f"{snapshot.public_id} is no longer being made")
    _note_taken(snapshot)
    base.refresh_from_db()
    return base


@transaction.atomic
def failed(snapshot: Snapshot, message: str) -> None:
    """Write down why no copy came of it; calm when that is known already."""
    try:
        _move(snapshot, SnapshotState.FAILED, message)
    except StateConflictError:
        return
    SnapshotSchedule.objects.filter(tenant_id=snapshot.tenant_id).update(
        failures=F("failures") + 1, message=message[:300]
    )


def newest(tenant: Tenant) -> Snapshot | None:
    """The newest copy that is kept."""
    return (
        Snapshot.objects.filter(tenant=tenant, state=SnapshotState.KEPT)
        .select_related("base")
        .order_by("-started_at", "-pk")
        .first()
    )


_CHAIN = """
WITH RECURSIVE chain AS (
    SELECT id, public_id, base_id, state, sha256, archive_bytes, depth
      FROM tenants_snapshot WHERE id = %(snapshot)s
    UNION ALL
    SELECT one.id, one.public_id, one.base_id, one.state, one.sha256, one.archive_bytes, one.depth
      FROM tenants_snapshot AS one JOIN chain ON one.id = chain.base_id
)
SELECT public_id, state, sha256, archive_bytes, depth FROM chain ORDER BY depth
"""


def chain_of(snapshot: Snapshot) -> tuple[Part, ...]:
    """Every archive that the state needs, the full one first. SnapshotLostError when one is missing."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, {"snapshot": snapshot.pk})
        rows = cursor.fetchall()
    is_whole = [depth for *_, depth in rows] == list(range(len(rows))) and rows
    if not is_whole or any(state != SnapshotState.KEPT for _, state, *_ in rows):
        raise SnapshotLostError(f"an archive that {snapshot.public_id} needs is not kept any more")
    repository, tenant_id = repositories.current(), snapshot.tenant.public_id
    return tuple(
        Part(name, sha256, size, repository.get_address(f"{tenant_id}/{name}"))
        for name, _, sha256, size, _ in rows
    )


@transaction.atomic
def forget(tenant: Tenant) -> None:
    """The shop is removed: its copies go too. What is told of them is in the journal."""
    Snapshot.objects.filter(tenant=tenant).exclude(state=SnapshotState.GONE).update(
        state=SnapshotState.GONE, message="the shop was removed"
    )
    SnapshotSchedule.objects.filter(tenant=tenant).delete()


@transaction.atomic
def damaged(snapshot: Snapshot, message: str) -> int:
    """What was read back is not what was kept: neither it nor what follows from it counts any more.

    The next snapshot is then a full one, as soon as may be. Returns how many were lost.
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
    transitions.journal(
        "snapshot", snapshot.pk, SnapshotState.KEPT, SnapshotState.FAILED, reason=message
    )
    SnapshotSchedule.objects.filter(tenant_id=snapshot.tenant_id).update(due_at=Now())
    return lost


_LOSE = """
WITH RECURSIVE lost AS (
    SELECT id FROM tenants_snapshot WHERE id = %(snapshot)s
    UNION
    SELECT one.id FROM tenants_snapshot AS one JOIN lost ON one.base_id = lost.id
)
UPDATE tenants_snapshot SET state = %(failed)s, message = %(message)s
  FROM lost WHERE tenants_snapshot.id = lost.id AND tenants_snapshot.state = %(kept)s
"""


@transaction.atomic
def _record(snapshot: Snapshot, saved: Saved) -> Snapshot:
    base = snapshot.base if snapshot.base and snapshot.base.public_id == saved.base else None
    if saved.base and base is None:
        raise SnapshotLostError(f"{snapshot.public_id} is a difference to what nobody asked for")
    _move(
        snapshot,
        SnapshotState.KEPT,
        "read back whole",
        base=base,
        depth=base.depth + 1 if base else 0,
        sha256=saved.sha256,
        archive_bytes=saved.archive_bytes,
        volume_bytes=saved.volume_bytes,
        files=saved.files,
        frozen_ms=saved.frozen_ms,
        message="",
        kept_at=Now(),
        checked_at=Now(),
    )
    _note_taken(snapshot)
    thin_out(snapshot.tenant_id)
    snapshot.refresh_from_db()
    return snapshot


def _note_taken(snapshot: Snapshot) -> None:
    SnapshotSchedule.objects.filter(tenant_id=snapshot.tenant_id).update(
        taken_at=Greatest(F("taken_at"), snapshot.taken_at), failures=0, message=""
    )


def _move(snapshot: Snapshot, state: str, reason: str, **changes: object) -> None:
    """Compare and set. Its row is its journal: there are far too many for one beside it."""
    if state not in SNAPSHOT_TRANSITIONS[snapshot.state]:
        raise StateConflictError(f"{snapshot.public_id} is {snapshot.state}, not to be {state}")
    changes.setdefault("message", reason[:300])
    rows = Snapshot.objects.filter(pk=snapshot.pk, state=snapshot.state)
    if rows.update(state=state, **changes) != 1:
        raise StateConflictError(f"{snapshot.public_id} is no longer {snapshot.state}")
    snapshot.state = state


def _most_bytes(snapshot: Snapshot) -> int:
    """More than an archive of all the data that the plan allows can have."""
    return snapshot.tenant.plan.disk_bytes * 11 // 10 + ARCHIVE_EXTRA_BYTES


def _key(snapshot: Snapshot) -> str:
    return f"{snapshot.tenant.public_id}/{snapshot.public_id}"


# What is kept of a tenant's: the newest; the last of each hour of a day, of each day of a week, of each
# week of four; for a week what was made before a change or asked for; what somebody is just going back
# to; and whatever these are differences to.
_THIN_OUT = """
WITH RECURSIVE ranked AS (
    SELECT id, base_id, public_id, reason, taken_at,
           row_number() OVER (ORDER BY started_at DESC, id DESC) AS place,
           row_number() OVER (PARTITION BY date_trunc('hour', taken_at) ORDER BY started_at DESC, id DESC) AS of_hour,
           row_number() OVER (PARTITION BY date_trunc('day', taken_at) ORDER BY started_at DESC, id DESC) AS of_day,
           row_number() OVER (PARTITION BY date_trunc('week', taken_at) ORDER BY started_at DESC, id DESC) AS of_week
      FROM tenants_snapshot WHERE tenant_id = %(tenant)s AND state = %(kept)s
), needed AS (
    SELECT id, base_id FROM ranked
     WHERE place = 1
        OR of_hour = 1 AND taken_at > statement_timestamp() - interval '24 hours'
        OR of_day = 1 AND taken_at > statement_timestamp() - interval '7 days'
        OR of_week = 1 AND taken_at > statement_timestamp() - interval '28 days'
        OR reason IN ('risky', 'asked') AND taken_at > statement_timestamp() - interval '7 days'
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
