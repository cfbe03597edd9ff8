"""Operations as people follow them: state, steps and seconds, read in one query."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import QuerySet

from tenants.accounts.models import Member
from tenants.operations import line_places
from tenants.operations import steps as table
from tenants.operations.line_places import PlaceInLine
from tenants.operations.models import IdempotencyKey, Operation, Step
from tenants.states import OPEN_OPERATION_STATES, OperationState, TenantState, Verb


@dataclass(frozen=True, slots=True)
class StepView:
    """One step: its name, how far it has come, and when it began and ended."""

    name: str
    state: str
    detail: str
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """Return how long it took; None until it has ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True)
class OperationProgress:
    """An operation and its steps at one moment."""

    public_id: str
    verb: str
    state: str
    slug: str
    shop_name: str
    tenant_state: str
    attempts: int
    cancel_requested: bool
    error_code: str
    error_message: str
    phase: str
    unwind_code: str
    created_at: datetime
    finished_at: datetime | None
    queued_at: datetime
    is_in_line: bool
    waiting_since: datetime | None
    steps: tuple[StepView, ...] = ()
    place: PlaceInLine | None = None

    @property
    def is_open(self) -> bool:
        """Return whether it has not ended yet."""
        return self.state in OPEN_OPERATION_STATES

    @property
    def has_succeeded(self) -> bool:
        """Return whether it succeeded."""
        return self.state == OperationState.SUCCEEDED

    @property
    def has_failed(self) -> bool:
        """Return whether it ended with an error."""
        return self.state == OperationState.FAILED

    @property
    def may_be_tried_again(self) -> bool:
        """Return whether the shop's own people may try it again: what they may stop, they may repeat."""
        is_theirs = table.may_steer(self.verb, is_operator=False)
        is_ours = is_left_to_platform(self.verb, self.tenant_state)
        return self.has_failed and is_theirs and not is_ours

    @property
    def may_be_stopped(self) -> bool:
        """Return whether the shop's own people may stop it now."""
        return (
            self.is_open
            and not self.cancel_requested
            and table.may_steer(self.verb, is_operator=False)
            and table.may_be_stopped(self.verb, self.phase, self.unwind_code)
        )

    @property
    def is_waiting_to_repeat(self) -> bool:
        """Return whether an attempt failed and the next one is due soon."""
        return self.state == OperationState.PENDING and self.attempts > 0 and not self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Return whether what it needs is not there yet; nothing went wrong."""
        return self.state == OperationState.PENDING and self.waiting_since is not None

    @property
    def seconds(self) -> float | None:
        """From being asked for to its end; None until it has ended."""
        if self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.created_at).total_seconds())


_OPERATION_COLUMNS = (
    "public_id",
    "verb",
    "state",
    "tenant__slug",
    "tenant__shop_name",
    "tenant__state",
    "attempts",
    "cancel_requested",
    "error_code",
    "error_message",
    "phase",
    "unwind_code",
    "created_at",
    "finished_at",
    "queued_at",
    "is_in_line",
    "waiting_since",
)
_STEP_COLUMNS = ("name", "state", "detail", "started_at", "finished_at")


def is_left_to_platform(verb: str, tenant_state: str) -> bool:
    """Return whether nobody needs to repeat this failed operation.

    A sign-up whose shop had opened ends with the shop live. From then on a recovery, a repair or a
    choice on the shop's page brings it back.
    """
    return verb == Verb.PROVISION and tenant_state == TenantState.LIVE


def may_be_tried_again(operation: Operation) -> bool:
    """Return whether an operator may try the operation again. Needs its tenant loaded."""
    is_failed = operation.state == OperationState.FAILED
    return is_failed and not is_left_to_platform(operation.verb, operation.tenant.state)


def progress_of(public_ids: Collection[str]) -> dict[str, OperationProgress]:
    """Return the operations with these public ids as they stand now; one query however many they are.

    Once a second two more, for the places of those that wait in line.
    """
    rows = (
        Step.objects.filter(operation__public_id__in=public_ids)
        .order_by("operation_id", "position")
        .values_list(*(f"operation__{column}" for column in _OPERATION_COLUMNS), *_STEP_COLUMNS)
    )
    heads: dict[str, OperationProgress] = {}
    steps: dict[str, list[StepView]] = {}
    width = len(_OPERATION_COLUMNS)
    for row in rows:
        heads.setdefault(row[0], OperationProgress(*row[:width]))
        steps.setdefault(row[0], []).append(StepView(*row[width:]))
    return {
        key: replace(head, steps=tuple(steps[key]), place=_place(head))
        for key, head in heads.items()
    }


def _place(head: OperationProgress) -> PlaceInLine | None:
    is_in_line = head.state == OperationState.PENDING and head.is_in_line
    return line_places.place(head.verb, head.queued_at) if is_in_line else None


def of(member: Member) -> QuerySet[Operation]:
    """Operations of the member's tenants, those of removed tenants included."""
    return Operation.objects.filter(tenant__memberships__member=member).select_related("tenant")


def may_follow(member: Member, public_id: str) -> bool:
    """Return whether the member may watch this operation: their own tenant's, or any for an operator."""
    mine = Operation.objects.all() if member.is_operator else of(member)
    return mine.filter(public_id=public_id).exists()


def posted_before(principal: str, key: str) -> Operation | None:
    """Return what an earlier post with the same key led to."""
    row = (
        IdempotencyKey.objects.filter(principal=principal, key=key)
        .select_related("operation__tenant")
        .first()
    )
    return row.operation if row else None
