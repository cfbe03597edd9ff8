"""What the API answers operators with: hosts, what lets machines in, emptying hosts, alarms, the forecast."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from rest_framework import serializers as s

from tenants.api.declared import About, Url, filled
from tenants.api.v1.bodies import Body, Page
from tenants.core.alarm_kinds import Severity
from tenants.core.models import Alarm, Notice
from tenants.operations.models import Operation
from tenants.placement.models import Decision
from tenants.pool import join_queries, outlook
from tenants.pool.drain_progress import DrainProgress
from tenants.pool.models import JoinToken
from tenants.pool.overview import Amount, HostOverview
from tenants.states import DrainState, HostHealth, HostState, StepState

_SHARE = About("booked share of what was offered, 0 to 1")


@dataclass(frozen=True, slots=True)
class AmountBody(Body):
    """One kind of room, on a host or on all of them."""

    capacity: int
    reserve: Annotated[int, About("kept back for the host itself")]
    booked: Annotated[int, About("sum of what its instances are expected to use")]
    measured: Annotated[int | None, About("as the host last reported")]


@dataclass(frozen=True, slots=True)
class HostBody(Body):
    """A host with what it holds and what is measured on it."""

    name: str
    state: HostState
    address: Annotated[str, About(field=s.IPAddressField)]
    zone: str
    engine: str
    epoch: int
    health: Annotated[str, About(choices=HostHealth.values)]
    health_since: datetime
    labels: Mapping[str, str]
    ports: Annotated[tuple[int, ...], About("first and last published port")]
    instances: int
    is_heard: bool
    seen_at: datetime | None
    age_seconds: float | None
    cpu_millis: AmountBody
    memory_bytes: AmountBody
    disk_bytes: AmountBody


@dataclass(frozen=True, slots=True)
class HostsBody(Body):
    """All hosts."""

    results: tuple[HostBody, ...]


@dataclass(frozen=True, slots=True)
class JoinTokenBody(Body):
    """A join token without its secret."""

    id: str
    state: Annotated[str, About(choices=["waiting", "used", "expired", "revoked"])]
    zone: str
    labels: Mapping[str, str]
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    host: Annotated[str | None, About("what the machine became")]


@dataclass(frozen=True, slots=True)
class JoinTokensBody(Body):
    """The newest join tokens."""

    results: tuple[JoinTokenBody, ...]


@dataclass(frozen=True, slots=True)
class NewJoinTokenBody(Body):
    """A join token that was just made."""

    id: str
    token: Annotated[str, About("shown this once")]
    address: Url
    command: Annotated[str, About("what to run on the machine that joins")]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class MoveUnderWayBody(Body):
    """A shop that leaves a host just now."""

    tenant: str
    operation: str
    step: str


@dataclass(frozen=True, slots=True)
class MoveTroubleBody(Body):
    """A shop that could not leave a host yet."""

    tenant: str
    operation: str
    code: Annotated[str, About("the error code of its last operation")]
    message: str
    is_retried: Annotated[
        bool,
        About(
            "true: its move is tried again every minute; false: its set-up failed and it may"
            " hold data, so try it again or remove it"
        ),
    ]
    at: datetime | None


@dataclass(frozen=True, slots=True)
class DrainBody(Body):
    """The emptying of a host."""

    host: str
    state: DrainState
    total: Annotated[int, About("shops that have left or are to leave")]
    moved: int
    left: int
    still_there: Annotated[
        int, About("what the host itself reports to hold; -1 when it does not report")
    ]
    longest_held_ms: Annotated[
        int | None, About("the longest that visitors of one shop were kept waiting")
    ]
    started_at: datetime
    ended_at: datetime | None
    seconds: float
    eta_seconds: Annotated[float | None, About("at the pace so far")]
    under_way: tuple[MoveUnderWayBody, ...]
    troubles: Annotated[tuple[MoveTroubleBody, ...], About("shops that could not leave")]


@dataclass(frozen=True, slots=True)
class AlarmBody(Body):
    """Something that an operator must look at. docs/alarms.md has every kind."""

    key: str
    kind: Annotated[str, About("the key with <names>; empty for a kind of another version")]
    severity: Annotated[
        Severity | None, About("critical: shops suffer now. warning: they will when nobody acts")
    ]
    title: Annotated[str, About("in the language of the request")]
    message: Annotated[str, About("technical detail, in English")]
    remedy: Annotated[str, About("what to do, in the language of the request")]
    ends: Annotated[str, About("when the alarm closes")]
    since: datetime


@dataclass(frozen=True, slots=True)
class AlarmNoticeBody(Body):
    """A message about an alarm, away from the pages."""

    channel: Notice.Channel
    kind: Notice.Kind
    key: str
    message: str
    at: datetime
    sent_at: Annotated[datetime | None, About("null: not delivered yet")]
    attempts: Annotated[int, About("tries that failed")]
    error: Annotated[str, About("why the last try failed")]


@dataclass(frozen=True, slots=True)
class AlarmsBody(Body):
    """Open alarms, and what became of the messages about them."""

    results: Annotated[tuple[AlarmBody, ...], About("open ones, newest first")]
    channels: Annotated[tuple[str, ...], About("where alarms are sent")]
    notices: Annotated[tuple[AlarmNoticeBody, ...], About("the newest, whether delivered or not")]


@dataclass(frozen=True, slots=True)
class AlarmTestBody(Body):
    """A test of the channels."""

    key: str


@dataclass(frozen=True, slots=True)
class PoolDayBody(Body):
    """One day of the pool."""

    day: date
    instances: int
    hosts: int
    hosts_needed: int
    cpu_share: Annotated[float, _SHARE]
    memory_share: Annotated[float, _SHARE]
    disk_share: Annotated[float, _SHARE]


@dataclass(frozen=True, slots=True)
class ForecastBody(Body):
    """How full the pool is and how many hosts it needs."""

    hosts: int
    open_hosts: Annotated[int, About("that take new shops and report")]
    instances: int
    hosts_needed: Annotated[
        int | None, About("of the pool's usual size; null until first worked out")
    ]
    hosts_in_30_days: Annotated[
        int | None, About("with the trend carried on; null while there is none")
    ]
    scarcest: Annotated[str, About("processor, memory, disk or network; decides the number")]
    at: Annotated[datetime | None, About("when this was worked out")]
    cpu_millis: AmountBody
    memory_bytes: AmountBody
    disk_bytes: AmountBody
    days: tuple[PoolDayBody, ...]


@dataclass(frozen=True, slots=True)
class DecisionBody(Body):
    """One answer of the scheduler."""

    id: int
    instance: str
    outcome: Annotated[
        str,
        About(
            choices=[
                ("placed", "it got a place"),
                ("no_room", "no host had room"),
                ("unseen", "no host could be seen, which says nothing about room"),
            ]
        ),
    ]
    host: Annotated[str, About("empty unless placed")]
    reasons: Annotated[tuple[str, ...], About("why there, and why not elsewhere")]
    at: datetime


@dataclass(frozen=True, slots=True)
class DecisionPageBody(Page):
    """A page of the scheduler's answers."""

    results: tuple[DecisionBody, ...]


def host(view: HostOverview) -> HostBody:
    """Return a host with what it holds and what is measured on it."""
    return filled(
        HostBody,
        view.host,
        ports=(view.host.first_port, view.host.last_port),
        instances=view.holds,
        is_heard=view.is_heard,
        seen_at=view.seen_at,
        age_seconds=None if view.age_seconds is None else round(view.age_seconds, 1),
        cpu_millis=_amount(view.cpu_millis),
        memory_bytes=_amount(view.memory_bytes),
        disk_bytes=_amount(view.disk_bytes),
    )


def join_token(row: JoinToken) -> JoinTokenBody:
    """Return a join token without its secret. Needs a row of `join_queries.tokens()`."""
    host = row.host.name if row.host else None
    return filled(JoinTokenBody, row, id=row.key_id, state=join_queries.state(row), host=host)


def drain(found: DrainProgress) -> DrainBody:
    """Return the emptying of a host. Needs the drain's host loaded."""
    return filled(
        DrainBody,
        found,
        host=found.drain.host.name,
        state=DrainState(found.drain.state),
        started_at=found.drain.started_at,
        ended_at=found.drain.ended_at,
        seconds=round(found.seconds, 1),
        eta_seconds=None if found.eta_seconds is None else round(found.eta_seconds, 1),
        under_way=tuple(
            MoveUnderWayBody(move.tenant.slug, move.public_id, _step_now(move))
            for move in found.under_way
        ),
        troubles=tuple(
            filled(MoveTroubleBody, trouble, tenant=trouble.slug, operation=trouble.operation_id)
            for trouble in found.troubles
        ),
    )


def alarm(row: Alarm) -> AlarmBody:
    """Something that an operator must look at."""
    kind = row.kind
    return filled(
        AlarmBody,
        row,
        kind=kind.pattern if kind else "",
        severity=kind.severity if kind else None,
        title=str(kind.title) if kind else "",
        remedy=str(kind.remedy) if kind else "",
        ends=kind.ends if kind else "",
    )


def notice(row: Notice) -> AlarmNoticeBody:
    """Return a message about an alarm."""
    return filled(AlarmNoticeBody, row)


def forecast(room: outlook.PoolCapacity, found: outlook.Forecast) -> ForecastBody:
    """Return how full the pool is and how many hosts it needs."""
    return filled(
        ForecastBody,
        found,
        hosts=room.hosts,
        open_hosts=room.open_hosts,
        instances=room.instances,
        cpu_millis=_amount(room.cpu_millis),
        memory_bytes=_amount(room.memory_bytes),
        disk_bytes=_amount(room.disk_bytes),
        days=tuple(filled(PoolDayBody, day) for day in found.days),
    )


def decision(row: Decision) -> DecisionBody:
    """Return one answer of the scheduler. Needs the row's instance loaded."""
    return filled(DecisionBody, row, instance=row.instance.public_id, host=row.host_name)


def _step_now(row: Operation) -> str:
    return next((step.name for step in row.steps.all() if step.state == StepState.ACTIVE), "")


def _amount(amount: Amount) -> AmountBody:
    return filled(AmountBody, amount)
