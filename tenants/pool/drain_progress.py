"""How far the emptying of a host has come; the number of queries does not grow with its shops."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, OuterRef, Q, Subquery

from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Drain, Host, HostReport
from tenants.states import OPEN_OPERATION_STATES, DrainState, MoveEnd, OperationState, Verb
from tenants.transfers.models import Move

MOST_SHOWN = 50
SILENT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class DrainTrouble:
    """A shop that could not leave. is_retried: its move is tried again; else an operator must decide."""

    slug: str
    tenant_id: str
    operation_id: str
    code: str
    message: str
    at: datetime | None
    is_retried: bool


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """A drain as it stands.

    left: shops still placed on the host, those under way among them. longest_held_ms: the longest that
    one shop's visitors were kept waiting. still_there: what the host itself says it holds, -1 when it
    does not say anything.
    """

    drain: Drain
    moved: int
    left: int
    under_way: tuple[Operation, ...]
    troubles: tuple[DrainTrouble, ...]
    longest_held_ms: int | None
    still_there: int
    seconds: float

    @property
    def retried(self) -> tuple[DrainTrouble, ...]:
        """Shops whose last move failed; the drain tries it again."""
        return tuple(trouble for trouble in self.troubles if trouble.is_retried)

    @property
    def stuck(self) -> tuple[DrainTrouble, ...]:
        """Shops that the drain cannot move: their set-up failed, and they may hold data."""
        return tuple(trouble for trouble in self.troubles if not trouble.is_retried)

    @property
    def total(self) -> int:
        """Shops that have left or are to leave."""
        return self.moved + self.left

    @property
    def percent(self) -> float:
        """Return how much has left."""
        if self.drain.state == DrainState.DONE:
            return 100.0
        return round(100.0 * self.moved / self.total, 1) if self.total else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Return how long the rest takes at the pace so far; None where there is no pace to tell by."""
        if self.drain.state != DrainState.RUNNING or not self.moved:
            return None
        return self.left * self.seconds / self.moved

    @property
    def is_waiting_for_report(self) -> bool:
        """Return whether all have left and only the host's own report is missing."""
        return self.drain.state == DrainState.RUNNING and self.left == 0


def latest(host: Host) -> Drain | None:
    """Return the host's drain that runs, or the one that ended last."""
    return Drain.objects.filter(host=host).select_related("host").order_by("-pk").first()


def progress(drain: Drain, now: datetime) -> DrainProgress:
    """Return the drain as it stands; five queries."""
    figures = Move.objects.filter(drain=drain).aggregate(
        moved=Count("pk", filter=Q(end=MoveEnd.DONE)), held=Max("held_ms")
    )
    is_open = drain.state == DrainState.RUNNING
    left = (
        Placement.objects.filter(host=drain.host_id, until__isnull=True).count() if is_open else 0
    )
    # Switched over and not yet cleared away: neither placed there nor done.
    clearing = Move.objects.filter(drain=drain, ended_at=None).exclude(placement__until=None)
    under_way = Operation.objects.filter(
        verb=Verb.MOVE, state__in=OPEN_OPERATION_STATES, arguments__drain=drain.pk
    )
    return DrainProgress(
        drain=drain,
        moved=figures["moved"],
        left=left + (clearing.count() if is_open else 0),
        under_way=tuple(
            under_way.select_related("tenant").prefetch_related("steps").order_by("pk")[:MOST_SHOWN]
        ),
        troubles=tuple(_troubles(drain)) if is_open else (),
        longest_held_ms=figures["held"],
        still_there=_still_there(drain.host_id, now),
        seconds=max(0.0, ((drain.ended_at or now) - drain.started_at).total_seconds()),
    )


def _troubles(drain: Drain) -> list[DrainTrouble]:
    last = Operation.objects.filter(instance=OuterRef("instance")).order_by("-pk").values("pk")[:1]
    held = Placement.objects.filter(host=drain.host_id, until__isnull=True)
    pks = held.annotate(last=Subquery(last)).values("last")
    is_ours = Q(verb=Verb.MOVE, state=OperationState.FAILED, arguments__drain=drain.pk)
    # What was open once keeps its data where it is, and nothing that does not run is moved.
    is_closed = Q(verb=Verb.PROVISION, state__in=(OperationState.FAILED, OperationState.CANCELLED))
    failed = Operation.objects.filter(is_ours | is_closed, pk__in=pks).select_related("tenant")
    return [
        DrainTrouble(
            slug=operation.tenant.slug,
            tenant_id=operation.tenant.public_id,
            operation_id=operation.public_id,
            code=operation.error_code,
            message=operation.error_message,
            at=operation.finished_at,
            is_retried=operation.verb == Verb.MOVE,
        )
        for operation in failed.order_by("-finished_at")[:MOST_SHOWN]
    ]


def _still_there(host_id: int, now: datetime) -> int:
    report = HostReport.objects.filter(host=host_id).only("seen_at", "inventory").first()
    if report is None or (now - report.seen_at).total_seconds() > SILENT_SECONDS:
        return -1
    return len(report.inventory) if isinstance(report.inventory, list) else -1
