"""What the API answers with about copies of shops' data."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from tenants.api.declared import About, filled
from tenants.api.v1.bodies import Body
from tenants.catalogue.models import Plan
from tenants.shops import missing_queries
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import SnapshotDoubt, SnapshotReason


@dataclass(frozen=True, slots=True)
class SnapshotScheduleBody(Body):
    """How old the newest copy is, and when the next is due."""

    period_minutes: Annotated[
        int, About("the plan's: what is lost with a host, at most about this")
    ]
    taken_at: Annotated[
        datetime | None,
        About("all that changed before it is in a copy; null while there is none"),
    ]
    due_at: Annotated[datetime | None, About("when the next one is due")]
    failures: Annotated[int, About("how many failed one after another")]


@dataclass(frozen=True, slots=True)
class SnapshotBody(Body):
    """A kept copy of a shop's data."""

    id: str
    taken_at: Annotated[datetime, About("the moment up to which it holds everything")]
    reason: SnapshotReason
    volume_bytes: int
    archive_bytes: Annotated[int, About("what it takes up where it is kept")]
    files: int
    skipped: Annotated[
        int,
        About(
            "files that no copy takes (sockets, devices, paths of more than 4,000 bytes) and that"
            " would be missing after going back to it"
        ),
    ]
    doubt: Annotated[
        str,
        About(
            "why it lets no older copy go; empty when it is in order",
            choices=SnapshotDoubt.choices,
            allow_blank=True,
        ),
    ]
    is_difference: bool
    checked_at: Annotated[datetime | None, About("when it was last read back whole")]


@dataclass(frozen=True, slots=True)
class SnapshotsBody(Body):
    """The kept copies of a shop, newest first."""

    schedule: SnapshotScheduleBody
    results: tuple[SnapshotBody, ...]


@dataclass(frozen=True, slots=True)
class TenantDataBody(Body):
    """Whether a shop's data is missing, and what may be chosen."""

    is_missing: Annotated[bool, About("the shop is not started: its data is not there")]
    is_waiting: Annotated[
        bool, About("an operation waits for a copy, or for what it takes to load one")
    ]
    since: datetime | None
    reason: Annotated[str, About("what the host said; for operators")]
    choices: Annotated[tuple[str, ...], About("wait, newest, copy, empty: those that can be made")]
    copies: tuple[SnapshotBody, ...]


@dataclass(frozen=True, slots=True)
class SnapshotsAcceptedBody(Body):
    """What accepting the data as it is has changed."""

    accepted: Annotated[int, About("how many copies are no longer in doubt")]


def snapshot(row: Snapshot) -> SnapshotBody:
    """Return a kept copy of a shop's data."""
    return filled(SnapshotBody, row, id=row.public_id, is_difference=row.depth > 0)


def schedule(row: SnapshotSchedule | None, plan: Plan) -> SnapshotScheduleBody:
    """Return how old the newest copy is, and when the next is due."""
    return SnapshotScheduleBody(
        period_minutes=plan.snapshot_period_minutes,
        taken_at=row.taken_at if row else None,
        due_at=row.due_at if row else None,
        failures=row.failures if row else 0,
    )


def data(found: missing_queries.Missing | None, *, for_operator: bool) -> TenantDataBody:
    """Return whether a shop's data is missing, and what may be chosen."""
    if found is None:
        return TenantDataBody(
            is_missing=False, is_waiting=False, since=None, reason="", choices=(), copies=()
        )
    return filled(
        TenantDataBody,
        found,
        is_missing=True,
        reason=found.reason if for_operator else "",
        choices=tuple(found.choices),
        copies=tuple(snapshot(row) for row in found.copies),
    )
