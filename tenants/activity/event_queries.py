"""What befell shops, as merchants and operators read it."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet

from tenants.activity.models import InstanceEvent
from tenants.catalogue import price_list
from tenants.catalogue.models import Plan
from tenants.core import paging
from tenants.core.paging import RowPage
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance, Tenant
from tenants.states import EventKind, InstanceState

PAGE = 50
# What a larger plan would give more of, by the kind of event it would help with.
_HELPED_BY = {
    EventKind.OOM_KILLED: "memory_bytes",
    EventKind.THROTTLED: "cpu_millis",
    EventKind.DISK_NEAR: "disk_bytes",
    EventKind.DISK_OVER: "disk_bytes",
}


@dataclass(frozen=True, slots=True)
class Told:
    """An event as a merchant reads it: with what a larger plan would give, where that would help.

    limit and larger are names of nothing but amounts: of the merchant's plan and of the next one.
    """

    event: InstanceEvent
    resource: str = ""
    ceiling: int = 0
    larger: Plan | None = None

    @property
    def is_of_use(self) -> bool:
        """Return whether advice is: what lasted and is over needs none, what happened may happen again."""
        lasting = (
            EventKind.DISK_NEAR,
            EventKind.DISK_OVER,
            EventKind.CRASH_LOOP,
            EventKind.NOT_ANSWERING,
            EventKind.CANNOT_END,
        )
        return self.event.ended_at is None or self.event.kind not in lasting

    @property
    def larger_amount(self) -> int:
        """Return what the next larger plan gives of the resource."""
        return int(getattr(self.larger, self.resource)) if self.larger else 0


def of(tenant: Tenant) -> QuerySet[InstanceEvent]:
    """Return the tenant's events, newest first."""
    return InstanceEvent.objects.filter(tenant=tenant).order_by("-last_at", "-id")


def with_silence(tenants: QuerySet[Tenant]) -> QuerySet[Tenant]:
    """Return the tenants, each with `is_silent`: its shop runs and gives visitors no answer just now; and
    with `is_without_data`: it is closed, because its data could not be found.
    """
    silent = InstanceEvent.objects.filter(
        tenant=OuterRef("pk"), kind=EventKind.NOT_ANSWERING, ended_at=None
    )
    missing = Instance.objects.filter(tenant=OuterRef("pk"), state=InstanceState.DATA_MISSING)
    return tenants.annotate(is_silent=Exists(silent), is_without_data=Exists(missing))


def told_to(tenant: Tenant, *, newest: int = 10) -> list[Told]:
    """Return the tenant's newest events for its owner; two queries at most. Needs the tenant's plan
    loaded.
    """
    rows = list(of(tenant)[:newest])
    plans = price_list.public_plans() if any(row.kind in _HELPED_BY for row in rows) else []
    return [_told(row, tenant.plan, list(plans)) for row in rows]


def page(
    *, kind: str = "", only_open: bool = False, after: str = "", size: int = PAGE
) -> RowPage[InstanceEvent]:
    """Events of all shops, newest first, from the key `after` on (one that cannot be read starts anew).

    kind: an EventKind or "" for all.
    """
    found = InstanceEvent.objects.select_related("tenant", "instance")
    if kind in EventKind.values:
        found = found.filter(kind=kind)
    if only_open:
        found = found.filter(ended_at=None)
    return paging.page(found, by="last_at", after=after, size=size)


def on(host: Host, *, newest: int = 20) -> list[InstanceEvent]:
    """Return the newest events of what the host holds now."""
    here = Placement.objects.filter(host=host, until=None, instance=OuterRef("instance"))
    found = InstanceEvent.objects.filter(Exists(here)).select_related("tenant", "instance")
    return list(found.order_by("-last_at", "-id")[:newest])


def _told(row: InstanceEvent, plan: Plan, plans: list[Plan]) -> Told:
    resource = _HELPED_BY.get(EventKind(row.kind), "")
    if not resource:
        return Told(row)
    ceiling = int(getattr(plan, resource))
    larger = [plan for plan in plans if getattr(plan, resource) > ceiling]
    smallest = min(larger, key=lambda plan: int(getattr(plan, resource)), default=None)
    return Told(row, resource, ceiling, smallest)
