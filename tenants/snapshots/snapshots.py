"""Copies of tenants' data: begun, kept once they were read back, thinned out, lost.

A snapshot counts from the moment it is kept, and it is kept only after the archive was read back whole
and is what the host said it had sent. All times are PostgreSQL's.
"""

from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from tenants.errors import SnapshotLostError, StateConflictError
from tenants.pool.models import Host
from tenants.shops.models import Tenant
from tenants.snapshots import repositories, retention
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import SNAPSHOT_TRANSITIONS, SnapshotDoubt, SnapshotReason, SnapshotState

# As many differences one after another; then a full one. A chain is read from its beginning.
DEPTH_LIMIT = 24
# What an archive holds beside the data: names, owners and rights of entries.
ARCHIVE_EXTRA_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """What a host says of an archive it has sent.

    base: "" when it is a full one. skipped: entries that were left out. is_anew: the volume is not the
    one that was copied before.
    """

    base: str
    sha256: str
    archive_bytes: int
    volume_bytes: int
    files: int
    frozen_ms: float
    skipped: int = 0
    is_anew: bool = False


@dataclass(frozen=True, slots=True)
class ArchivePart:
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
    wants_full = SnapshotSchedule.objects.filter(tenant=tenant, wants_full=True).exists()
    if base is not None and (wants_full or base.depth + 1 >= DEPTH_LIMIT):
        base = None
    snapshot = Snapshot.objects.create(
        tenant=tenant, reason=SnapshotReason(reason), host=host, base=base, taken_at=Now()
    )
    snapshot.refresh_from_db(fields=["taken_at", "started_at"])
    return snapshot


def put_url(snapshot: Snapshot) -> str:
    """Return where its archive is to be PUT. Raises RepositoryError if the repository gives no address."""
    return repositories.current().put_address(_key(snapshot), most=_most_bytes(snapshot))


def kept(snapshot: Snapshot, saved: Saved) -> Snapshot:
    """Read the archive back and, when it is what the host says, count the snapshot from now on.

    SnapshotLostError when it is not, StateConflictError when another was begun meanwhile,
    RepositoryError when it cannot be read.
    """
    found = repositories.current().read_back(_key(snapshot), most=_most_bytes(snapshot))
    if found != repositories.StoredObject(saved.archive_bytes, saved.sha256):
        what = "nothing" if found is None else f"{found.size} bytes of something else"
        raise SnapshotLostError(
            f"the repository holds {what} where {saved.archive_bytes} bytes of"
            f" {snapshot.public_id} should be"
        )
    return _record(snapshot, saved)


@transaction.atomic
def unchanged(snapshot: Snapshot) -> Snapshot:
    """Note that the volume was still as it is in `base`: nothing was sent, and base is as good as new.

    Returns base. StateConflictError when another snapshot was begun meanwhile.
    """
    base = snapshot.base
    if base is None:
        raise SnapshotLostError("there is nothing the volume could be unchanged from")
    changed = Snapshot.objects.filter(pk=base.pk, state=SnapshotState.KEPT).update(
        taken_at=Greatest(F("taken_at"), snapshot.taken_at),
        # Kept as long as what was asked for: it stands for it.
        reason=snapshot.reason if snapshot.reason in retention.EXTRA_REASONS else F("reason"),
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
    """Write down why no copy came of it; no-op if that is known already."""
    try:
        _move(snapshot, SnapshotState.FAILED, message)
    except StateConflictError:
        return
    SnapshotSchedule.objects.filter(tenant_id=snapshot.tenant_id).update(
        failures=F("failures") + 1, message=message[:300]
    )


def newest(tenant: Tenant) -> Snapshot | None:
    """Return the newest copy that is kept and can be loaded."""
    return (
        Snapshot.objects.filter(tenant=tenant, state=SnapshotState.KEPT)
        .exclude(doubt=SnapshotDoubt.UNUSABLE)
        .select_related("base")
        .order_by("-started_at", "-pk")
        .first()
    )


def of_id(tenant: Tenant, public_id: str) -> Snapshot | None:
    """Return a kept copy of this tenant and of no other; None when it is not kept (any more)."""
    rows = Snapshot.objects.filter(tenant=tenant, state=SnapshotState.KEPT)
    return rows.select_related("base", "tenant").filter(public_id=public_id).first()


@transaction.atomic
def is_newest_again(tenant: Tenant, public_id: str) -> None:
    """The shop's data is again as in this copy: it counts as the newest, and the next is made soon.

    A recovery would otherwise bring the data back that the shop was just taken away from.
    """
    changed = Snapshot.objects.filter(
        tenant=tenant, public_id=public_id, state=SnapshotState.KEPT
    ).update(started_at=Now())
    if changed:
        SnapshotSchedule.objects.filter(tenant=tenant).update(due_at=Now())


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


def chain_of(snapshot: Snapshot) -> tuple[ArchivePart, ...]:
    """Return every archive that the state needs, the full one first.

    Raises SnapshotLostError when one is missing, RepositoryError when the repository gives no address: that
    says nothing of the copy.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, {"snapshot": snapshot.pk})
        rows = cursor.fetchall()
    is_whole = [depth for *_, depth in rows] == list(range(len(rows))) and rows
    if not is_whole or any(state != SnapshotState.KEPT for _, state, *_ in rows):
        raise SnapshotLostError(f"an archive that {snapshot.public_id} needs is not kept any more")
    tenant_id, repository = snapshot.tenant.public_id, repositories.current()
    return tuple(
        ArchivePart(name, sha256, size, repository.get_address(f"{tenant_id}/{name}"))
        for name, _, sha256, size, _ in rows
    )


@transaction.atomic
def forget(tenant: Tenant) -> None:
    """The shop is removed: its copies go too. The journal keeps what is known of them."""
    Snapshot.objects.filter(tenant=tenant).exclude(state=SnapshotState.GONE).update(
        state=SnapshotState.GONE, message="the shop was removed"
    )
    SnapshotSchedule.objects.filter(tenant=tenant).delete()


@transaction.atomic
def _record(snapshot: Snapshot, saved: Saved) -> Snapshot:
    base = snapshot.base if snapshot.base and snapshot.base.public_id == saved.base else None
    if saved.base and base is None:
        raise SnapshotLostError(f"{snapshot.public_id} is a difference to an unexpected base")
    if base is not None:
        # Held, so that nobody finds it damaged between this look and the end of the transaction.
        base = Snapshot.objects.select_for_update().get(pk=base.pk)
        if base.state != SnapshotState.KEPT:
            raise SnapshotLostError(f"{base.public_id}, which it is a difference to, is not kept")
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
        skipped=saved.skipped,
        doubt=retention.doubt_of(
            snapshot, files=saved.files, volume_bytes=saved.volume_bytes, is_anew=saved.is_anew
        ),
        message="",
        kept_at=Now(),
        checked_at=Now(),
    )
    _note_taken(snapshot)
    retention.thin_out(snapshot.tenant_id)
    snapshot.refresh_from_db()
    return snapshot


def _note_taken(snapshot: Snapshot) -> None:
    SnapshotSchedule.objects.filter(tenant_id=snapshot.tenant_id).update(
        taken_at=Greatest(F("taken_at"), snapshot.taken_at),
        failures=0,
        message="",
        wants_full=False,
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
