"""The pool as an operator sees it: figures, hosts with what is booked and measured, switches, alarms."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, TruncHour

from tenants.core import alarm_kinds
from tenants.core.models import Alarm, FreezeSwitch, Transition
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Edge, Host, HostReport
from tenants.shops.models import Tenant
from tenants.states import OPEN_OPERATION_STATES, HostHealth, OperationState, TenantState, Verb
from tenants.usage.models import HostUsage

# Reports come every two seconds; after five missed ones a host is shown as unreachable.
REPORT_LATE_SECONDS = 10.0
PLACEMENTS_PAGE = 100
TURNS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """The numbers an operator looks at first."""

    tenants_by_state: dict[str, int]
    open_operations: int
    oldest_open_at: datetime | None
    in_line: int
    first_in_line_at: datetime | None
    failed_in_24_h: int
    sign_ups_by_hour: tuple[int, ...]
    failures_by_hour: tuple[int, ...]

    @property
    def live(self) -> int:
        """Shops that run."""
        return self.tenants_by_state.get(TenantState.LIVE, 0)

    @property
    def requested(self) -> int:
        """Shops that are being set up."""
        return self.tenants_by_state.get(TenantState.REQUESTED, 0)

    @property
    def failed(self) -> int:
        """Shops whose set-up failed."""
        return self.tenants_by_state.get(TenantState.FAILED, 0)

    @property
    def sign_ups_in_24_h(self) -> int:
        """Return how many sign-ups the last 24 hours brought."""
        return sum(self.sign_ups_by_hour)


@dataclass(frozen=True, slots=True)
class Amount:
    """One kind of room on a host: what there is, and how it is taken; all in one unit."""

    capacity: int
    reserve: int
    booked: int
    measured: int | None

    def percent(self, part: int | None) -> float:
        """Return a part as percent of the capacity, cut to 0–100 for drawing."""
        if not part or not self.capacity:
            return 0.0
        return round(min(100.0, 100.0 * part / self.capacity), 2)

    @property
    def booked_percent(self) -> float:
        """Return where the booked outline ends."""
        return self.percent(self.booked)

    @property
    def measured_percent(self) -> float:
        """Return where the measured fill ends."""
        return self.percent(self.measured)

    @property
    def reserve_percent(self) -> float:
        """Return how wide the hatched reserve is."""
        return self.percent(self.reserve)

    @property
    def reserve_from_percent(self) -> float:
        """Return where the hatched reserve begins; it lies at the far end."""
        return 100.0 - self.reserve_percent


@dataclass(frozen=True, slots=True)
class HostOverview:
    """A host with what it holds, what is measured on it and how old that report is."""

    host: Host
    holds: int
    seen_at: datetime | None
    age_seconds: float | None
    cpu_millis: Amount
    memory_bytes: Amount
    disk_bytes: Amount

    @property
    def is_heard(self) -> bool:
        """Return whether its reports are coming in."""
        return self.age_seconds is not None and self.age_seconds <= REPORT_LATE_SECONDS


def figures(now: datetime) -> PoolFigures:
    """Return the key figures; four queries, each on an index."""
    since = (now - timedelta(hours=23)).replace(minute=0, second=0, microsecond=0)
    recent = Operation.objects.filter(created_at__gte=since)
    in_line = Q(state=OperationState.PENDING, is_in_line=True)
    opened = Operation.objects.filter(state__in=OPEN_OPERATION_STATES).aggregate(
        count=Count("pk"),
        oldest=Min("created_at"),
        in_line=Count("pk", filter=in_line),
        first=Min("queued_at", filter=in_line),
    )
    rows = (
        recent.annotate(hour=TruncHour("created_at"))
        .values("hour")
        .annotate(
            sign_ups=Count("pk", filter=Q(verb=Verb.PROVISION)),
            failures=Count("pk", filter=Q(state=OperationState.FAILED)),
        )
        .values_list("hour", "sign_ups", "failures")
    )
    by_hour = {hour: (sign_ups, failures) for hour, sign_ups, failures in rows}
    hours = [by_hour.get(since + timedelta(hours=step), (0, 0)) for step in range(24)]
    states = Tenant.objects.values_list("state").annotate(count=Count("pk")).order_by()
    return PoolFigures(
        tenants_by_state=dict(states),
        open_operations=opened["count"],
        oldest_open_at=opened["oldest"],
        in_line=opened["in_line"],
        first_in_line_at=opened["first"],
        failed_in_24_h=sum(failures for _, failures in hours),
        sign_ups_by_hour=tuple(sign_ups for sign_ups, _ in hours),
        failures_by_hour=tuple(failures for _, failures in hours),
    )


def hosts(now: datetime) -> list[HostOverview]:
    """Return every host of the pool by name; one query."""
    return [_view(host, now) for host in _hosts()]


def host(name: str, now: datetime) -> HostOverview | None:
    """Return one host."""
    found = _hosts().filter(name=name).first()
    return _view(found, now) if found else None


def placements_on(
    host: Host, *, after: int = 0, size: int = PLACEMENTS_PAGE
) -> tuple[list[Placement], int]:
    """Return what the host holds in order of ports from the port `after` on, and the key of the next page."""
    rows = list(
        Placement.objects.filter(host=host, until=None, port__gt=after)
        .select_related("instance__tenant__plan")
        .order_by("port")[: size + 1]
    )
    return rows[:size], rows[size - 1].port if len(rows) > size else 0


def last_usage_on(host: Host) -> tuple[datetime | None, dict[str, dict[str, int]]]:
    """Return when the host last shipped usage, and what each instance used then by instance id."""
    row = HostUsage.objects.filter(host=host).order_by("-at").first()
    if row is None:
        return None, {}
    return row.at, dict(_samples(row.samples))


def edges(now: datetime) -> list[tuple[Edge, bool]]:
    """Return the front proxies by name, and whether each is heard and in step with the record."""
    late = now - timedelta(seconds=REPORT_LATE_SECONDS)
    return [
        (edge, edge.is_synced and edge.seen_at is not None and edge.seen_at >= late)
        for edge in Edge.objects.all()
    ]


def switches() -> list[FreezeSwitch]:
    """Return every freeze switch, those never used among them as off."""
    stored = {switch.name: switch for switch in FreezeSwitch.objects.all()}
    return [stored.get(name, FreezeSwitch(name=name)) for name in FreezeSwitch.Name.values]


def takes_new_shops() -> bool:
    """Return whether an operator lets new shops be opened at the moment."""
    return not FreezeSwitch.objects.filter(name=FreezeSwitch.Name.PLACEMENTS, is_on=True).exists()


def open_alarms() -> list[Alarm]:
    """Return the open alarms, newest first."""
    return list(Alarm.objects.filter(cleared_at=None).order_by("-since", "-pk")[:50])


def alarms_of(host: Host) -> list[Alarm]:
    """Return the open alarms about one host, newest first."""
    named = Alarm.objects.filter(cleared_at=None, key__contains=f".{host.name}")
    return [
        alarm
        for alarm in named.order_by("-since", "-pk")
        if alarm_kinds.host_of(alarm.key) == host.name  # other names may begin alike
    ][:200]


def _hosts() -> QuerySet[Host]:
    # Counted on the index of open placements, host by host: a join would group the whole pool.
    held = Placement.objects.filter(host=OuterRef("pk"), until=None).order_by().values("host")
    counted = Subquery(held.annotate(count=Count("pk")).values("count"))
    rows = Host.objects.select_related("report").annotate(holds=Coalesce(counted, 0))
    return rows.defer("load", "report__inventory")


def _view(host: Host, now: datetime) -> HostOverview:
    report: HostReport | None = getattr(host, "report", None)
    return HostOverview(
        host=host,
        holds=getattr(host, "holds", 0),
        seen_at=report.seen_at if report else None,
        age_seconds=max(0.0, (now - report.seen_at).total_seconds()) if report else None,
        cpu_millis=Amount(
            host.capacity_cpu_millis,
            host.reserve_cpu_millis,
            host.booked_cpu_millis,
            report.used_cpu_millis if report else None,
        ),
        memory_bytes=Amount(
            host.capacity_memory_bytes,
            host.reserve_memory_bytes,
            host.booked_memory_bytes,
            report.used_memory_bytes if report else None,
        ),
        disk_bytes=Amount(
            host.capacity_disk_bytes,
            host.reserve_disk_bytes,
            host.booked_disk_bytes,
            report.used_disk_bytes if report else None,
        ),
    )


def _samples(packed: object) -> Iterator[tuple[str, dict[str, int]]]:
    rows = packed if isinstance(packed, list) else []
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("instance_id"), str):
            yield row["instance_id"], row


def turns_of(host: Host) -> list[Transition]:
    """Return the newest changes of how a host answered, newest first; one query."""
    rows = Transition.objects.filter(
        subject="host", subject_id=host.pk, new_state__in=HostHealth.values
    )
    return list(rows.order_by("-at", "-pk")[:TURNS_SHOWN])
