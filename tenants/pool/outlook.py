"""Where the pool stands and where it is going, and what the scheduler answered: for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Now

from tenants.placement.models import Decision
from tenants.pool.models import Host
from tenants.pool.overview import REPORT_LATE_SECONDS, Amount
from tenants.shops.models import Tenant
from tenants.states import HostState
from tenants.transfers.models import RebalancePlan
from tenants.usage.models import PoolDay

SHOWN_DAYS = 60
NEWEST_DECISIONS = 30
NEWEST_PLANS = 5


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """All hosts together: how many, how many of them may take shops, and how their room is taken."""

    hosts: int
    open_hosts: int
    instances: int
    cpu_millis: Amount
    memory_bytes: Amount
    disk_bytes: Amount


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the pool: shares of what was offered that were booked, and the hosts it took."""

    day: date
    instances: int
    hosts: int
    hosts_needed: int
    cpu_share: float
    memory_share: float
    disk_share: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """hosts_needed now and hosts_in_30_days, of hosts as large as the pool's are; None while unknown.

    scarcest: the resource that decides. has_trend: enough days were seen to carry them on.
    """

    hosts: int
    hosts_needed: int | None
    hosts_in_30_days: int | None
    scarcest: str
    at: datetime | None
    days: tuple[Day, ...]

    @property
    def missing_now(self) -> int:
        """Return how many hosts are missing now."""
        return max(0, (self.hosts_needed or 0) - self.hosts)

    @property
    def missing_later(self) -> int:
        """Return how many hosts will be missing in 30 days."""
        return max(0, (self.hosts_in_30_days or 0) - self.hosts)

    @property
    def spare_now(self) -> int:
        """Return how many hosts could be done without now."""
        return 0 if self.hosts_needed is None else max(0, self.hosts - self.hosts_needed)


def room() -> PoolCapacity:
    """Return the whole pool as one host; one query."""
    amounts = {
        f"{part}_{kind}": Sum(f"{part}_{kind}")
        for part in ("capacity", "reserve", "booked")
        for kind in ("cpu_millis", "memory_bytes", "disk_bytes")
    }
    measured = {
        f"measured_{kind}": Sum(f"report__used_{kind}")
        for kind in ("cpu_millis", "memory_bytes", "disk_bytes")
    }
    late = Now() - timedelta(seconds=REPORT_LATE_SECONDS)
    found = Host.objects.exclude(state=HostState.REMOVED).aggregate(
        hosts=Count("pk"),
        open_hosts=Count("pk", filter=Q(state=HostState.OPEN, report__seen_at__gte=late)),
        instances=Sum("placed"),
        **amounts,
        **measured,
    )

    def amount(kind: str) -> Amount:
        return Amount(
            found[f"capacity_{kind}"] or 0,
            found[f"reserve_{kind}"] or 0,
            found[f"booked_{kind}"] or 0,
            found[f"measured_{kind}"],
        )

    return PoolCapacity(
        hosts=found["hosts"],
        open_hosts=found["open_hosts"],
        instances=found["instances"] or 0,
        cpu_millis=amount("cpu_millis"),
        memory_bytes=amount("memory_bytes"),
        disk_bytes=amount("disk_bytes"),
    )


def forecast(*, days: int = SHOWN_DAYS) -> Forecast:
    """Return how many hosts are needed now and in 30 days, as last worked out; one query."""
    rows = list(PoolDay.objects.order_by("-day")[:days])
    newest = rows[0] if rows else None
    return Forecast(
        hosts=newest.hosts if newest else 0,
        hosts_needed=newest.hosts_needed if newest else None,
        hosts_in_30_days=newest.hosts_in_30_days if newest else None,
        scarcest=newest.scarcest if newest else "",
        at=newest.at if newest else None,
        days=tuple(_day(row) for row in reversed(rows)),
    )


def decisions(*, outcome: str = "", newest: int = NEWEST_DECISIONS) -> list[Decision]:
    """Return the scheduler's latest answers about anybody, newest first; outcome "" for all."""
    found = Decision.objects.select_related("instance__tenant").order_by("-pk")
    return list((found.filter(outcome=outcome) if outcome else found)[:newest])


def decisions_of(tenant: Tenant) -> QuerySet[Decision]:
    """Return the scheduler's answers about the tenant's instances."""
    return Decision.objects.filter(instance__tenant=tenant).select_related("instance")


def plans(*, newest: int = NEWEST_PLANS) -> Sequence[RebalancePlan]:
    """Return the latest rebalance plans, newest first."""
    return list(RebalancePlan.objects.all()[:newest])


def _day(row: PoolDay) -> Day:
    return Day(
        day=row.day,
        instances=row.instances,
        hosts=row.hosts,
        hosts_needed=row.hosts_needed,
        cpu_share=_share(row.booked_cpu_millis, row.offered_cpu_millis),
        memory_share=_share(row.booked_memory_bytes, row.offered_memory_bytes),
        disk_share=_share(row.booked_disk_bytes, row.offered_disk_bytes),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
