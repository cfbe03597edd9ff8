"""What the API answers with about shops, plans and operations: each body, and how a row becomes one."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated

from tenants.activity.models import InstanceEvent
from tenants.api.declared import LEFT_OUT, About, LeftOut, Url, filled
from tenants.catalogue.models import Plan
from tenants.http import labels
from tenants.operations import line_places, steps
from tenants.operations.models import Operation, Step
from tenants.shops import member_shops
from tenants.shops.models import Tenant
from tenants.states import EventKind, OperationState, StepState, TenantState, Verb


@dataclass(frozen=True, slots=True)
class Body:
    """What every body of an answer has."""

    def headers(self) -> dict[str, str]:
        """Return the headers that go with it."""
        return {}


@dataclass(frozen=True, slots=True)
class Page(Body):
    """One page of a list, newest first; a derived class names its results."""

    next: Url | None
    previous: Url | None

    def headers(self) -> dict[str, str]:
        """Return where the next page is."""
        return {"Link": f'<{self.next}>; rel="next"'} if self.next else {}


@dataclass(frozen=True, slots=True)
class WordsBody(Body):
    """A text in both languages."""

    en: str
    ja: str


@dataclass(frozen=True, slots=True)
class TenantBody(Body):
    """A shop."""

    id: str
    slug: str
    shop_name: str
    address: Url
    admin_address: Url
    language: str
    plan: str
    app: str
    state: TenantState
    state_since: datetime
    data_missing_since: Annotated[
        datetime | None,
        About("since when the shop is not started because its data is missing; see …/data"),
    ]
    is_answering: Annotated[
        bool,
        About("whether it is live and gives visitors an answer, asked every half minute"),
    ]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TenantPageBody(Page):
    """A page of shops."""

    results: tuple[TenantBody, ...]


@dataclass(frozen=True, slots=True)
class StepBody(Body):
    """One step of an operation."""

    name: str
    label: Annotated[str, About("for people, in the language of Accept-Language")]
    state: StepState
    detail: Annotated[str, About("for operators; empty for members")]
    started_at: datetime | None
    finished_at: datetime | None
    seconds: Annotated[float | None, About("null until it has ended")]


@dataclass(frozen=True, slots=True)
class OperationWaitingBody(Body):
    """What an operation waits for, and its place in the line."""

    for_: Annotated[str, About("a_slot: for its turn to start; else what is not there")]
    ahead: Annotated[int | None, About("who start before it; above 20 rounded up")]
    seconds: Annotated[int | None, About("until it starts, about; null when that is not known")]
    since: datetime
    told: Annotated[str, About("for operators; empty for members")]


@dataclass(frozen=True, slots=True)
class OperationErrorBody(Body):
    """What an operation failed with, or waits because of."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class OperationBody(Body):
    """An operation with its steps."""

    id: str
    verb: Verb
    state: OperationState
    tenant: Annotated[str, About("slug")]
    tenant_id: str
    attempts: int
    waiting: OperationWaitingBody | None
    cancel_requested: bool
    error: OperationErrorBody | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: Annotated[float | None, About("from being asked for to its end")]
    steps: tuple[StepBody, ...]


@dataclass(frozen=True, slots=True)
class LinksBody(Body):
    """Where to go on from an operation."""

    operation: str
    tenant: str
    page: Annotated[str, About("the page that shows the operation live")]


@dataclass(frozen=True, slots=True)
class AcceptedBody(Body):
    """The answer to a request that an operation carries out."""

    operation: OperationBody
    links: LinksBody

    def headers(self) -> dict[str, str]:
        """Return where the operation is."""
        return {"Location": self.links.operation}


@dataclass(frozen=True, slots=True)
class SignUpAcceptedBody(AcceptedBody):
    """The answer to a sign-up."""

    tenant: TenantBody


@dataclass(frozen=True, slots=True)
class EventDetailsBody(Body):
    """What is known of an event; which of these are there depends on its kind."""

    exit_code: Annotated[int | LeftOut | None, About("128 + signal for one that was killed")] = (
        LEFT_OUT
    )
    last_lines: Annotated[tuple[str, ...] | LeftOut, About("what the program logged last")] = (
        LEFT_OUT
    )
    percent: Annotated[int | LeftOut, About("share of the time it was held back")] = LEFT_OUT
    message: Annotated[str | LeftOut, About("what its host says is wrong")] = LEFT_OUT
    reason: Annotated[str | LeftOut, About("why its data is missing")] = LEFT_OUT
    host: Annotated[str | LeftOut, About("where it is, or was when its host was lost")] = LEFT_OUT
    lost_host: Annotated[str | LeftOut, About("from where it was brought back")] = LEFT_OUT
    choice: Annotated[str | LeftOut, About("what was chosen for its missing data")] = LEFT_OUT
    snapshot: Annotated[str | LeftOut, About("the copy it was brought back from")] = LEFT_OUT
    taken_at: Annotated[datetime | LeftOut, About("up to when that copy holds all")] = LEFT_OUT
    lost_seconds: Annotated[int | LeftOut, About("how much time of its data is lost")] = LEFT_OUT
    skipped: Annotated[
        tuple[str, ...] | LeftOut, About("newer copies that could not be loaded")
    ] = LEFT_OUT


@dataclass(frozen=True, slots=True)
class EventBody(Body):
    """Something that befell a shop."""

    id: int
    kind: EventKind
    label: Annotated[str, About("for people, in the language of Accept-Language")]
    advice: Annotated[str, About("what it means and what to do")]
    instance: str
    count: Annotated[int, About("how many times, from first_at to last_at")]
    first_at: datetime
    last_at: datetime
    ended_at: Annotated[datetime | None, About("null while it lasts or may repeat")]
    details: EventDetailsBody


@dataclass(frozen=True, slots=True)
class EventPageBody(Page):
    """A page of events."""

    results: tuple[EventBody, ...]


@dataclass(frozen=True, slots=True)
class FirstLoginBody(Body):
    """The shop's first-login secret; shown once."""

    secret: str
    admin_address: Url


@dataclass(frozen=True, slots=True)
class PlanBody(Body):
    """A plan with its price and limits."""

    slug: str
    name: WordsBody
    summary: WordsBody
    price_minor: Annotated[int, About("per month, in the currency's minor unit")]
    currency: str
    cpu_millis: int
    memory_bytes: int
    pids: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class PlansBody(Body):
    """The plans on offer, cheapest first."""

    results: tuple[PlanBody, ...]


def tenant(row: Tenant) -> TenantBody:
    """Return a shop. Needs the row's plan and app loaded."""
    return filled(
        TenantBody,
        row,
        id=row.public_id,
        address=member_shops.address(row.slug),
        admin_address=member_shops.admin_address(row.slug),
        plan=row.plan.slug,
        app=row.app.slug,
        data_missing_since=getattr(row, "data_missing_since", None),
        # A shop that has just been signed up for has no such events yet.
        is_answering=row.state == TenantState.LIVE and not getattr(row, "is_silent", False),
    )


def operation(row: Operation, steps: Iterable[Step], *, for_operator: bool) -> OperationBody:
    """Return an operation with its steps. Needs the row's tenant loaded."""
    return filled(
        OperationBody,
        row,
        id=row.public_id,
        tenant=row.tenant.slug,
        tenant_id=row.tenant.public_id,
        waiting=_waiting(row, for_operator=for_operator),
        error=_error(row, for_operator=for_operator),
        seconds=_seconds(row.created_at, row.finished_at),
        steps=tuple(_step(row, step, for_operator=for_operator) for step in steps),
    )


def fresh_steps(row: Operation) -> list[Step]:
    """Return the steps of an operation that was opened a moment ago, without asking the database."""
    return [
        Step(position=position, name=name, state=StepState.WAITING)
        for position, name in enumerate(steps.names(row.verb))
    ]


def links(row: Operation) -> LinksBody:
    """Return where to go on from an operation."""
    return LinksBody(
        operation=f"/api/v1/operations/{row.public_id}",
        tenant=f"/api/v1/tenants/{row.tenant.slug}",
        page=f"/operations/{row.public_id}/",
    )


def plan(row: Plan) -> PlanBody:
    """Return a plan with its price and limits."""
    name, summary = WordsBody(row.name_en, row.name_ja), WordsBody(row.summary_en, row.summary_ja)
    return filled(PlanBody, row, name=name, summary=summary)


def event(row: InstanceEvent) -> EventBody:
    """Something that befell a shop. Needs the row's instance loaded."""
    known = [field.name for field in fields(EventDetailsBody) if field.name in row.details]
    return filled(
        EventBody,
        row,
        label=str(EventKind(row.kind).label),
        advice=str(labels.event_advice(row.kind)),
        instance=row.instance.public_id,
        details=EventDetailsBody(**{name: row.details[name] for name in known}),
    )


def _waiting(row: Operation, *, for_operator: bool) -> OperationWaitingBody | None:
    """Return what an operation waits for and its place in the line; None for one that does not wait."""
    if row.state != OperationState.PENDING:
        return None
    place = line_places.place(row.verb, row.queued_at) if row.is_in_line else None
    if place is None and row.waiting_since is None:
        return None
    return OperationWaitingBody(
        for_="a_slot" if place else row.error_code,
        ahead=place.ahead if place else None,
        seconds=place.seconds if place else None,
        since=row.waiting_since or row.queued_at,
        told=row.error_message if for_operator else "",
    )


def _step(row: Operation, step: Step, *, for_operator: bool) -> StepBody:
    return filled(
        StepBody,
        step,
        label=str(labels.step(row.verb, step.name)),
        # Details name hosts and addresses of ours.
        detail=step.detail if for_operator else "",
        seconds=_seconds(step.started_at, step.finished_at),
    )


def _error(row: Operation, *, for_operator: bool) -> OperationErrorBody | None:
    if not row.error_code:
        return None
    message = (
        row.error_message
        if for_operator
        else str(labels.failure(row.verb, row.error_code, row.state, phase=row.phase))
    )
    return OperationErrorBody(row.error_code, message)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round(max(0.0, (end - start).total_seconds()), 3)
