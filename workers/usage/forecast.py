"""How many hosts the pool needs: now, in a month, and if something were different.

What is asked here is answered by the code that places: a what-if places the instances in question on the
pool as it is, writes nothing down, and tells what would have no room.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from django.db import connection
from django.db.models.functions import Now

from tenants.catalogue.models import Plan, Release
from tenants.errors import FieldError
from tenants.placement import bookings, placements
from tenants.placement.bookings import Booking
from tenants.placement.models import Placement
from tenants.pool.fitting import Amounts, Fit
from tenants.pool.models import Host
from tenants.usage.models import PoolDay
from workers.leases.periodic import database_now, once
from workers.pool import mapping, reader
from workers.scheduler import InstanceView, PoolView, Resources
from workers.scheduler.demand_vector import DEMAND_WIDTH, F32, RESOURCES, as_load, highs
from workers.scheduler.host_evaluation import limits
from workers.scheduler.hosts_needed import hosts_needed
from workers.scheduler.place_batch import place_all
from workers.scheduler.profiles.history import expected
from workers.scheduler.profiles.trend import factor

AHEAD_DAYS = 30
# As many instances tell how many hosts all of them take.
SAMPLE = 4000
MOST_TENANTS = 50_000

_SAMPLED = """
SELECT cpu_millis, memory_bytes, disk_bytes, shape
  FROM tenants_placement TABLESAMPLE SYSTEM (%s) REPEATABLE (1)
 WHERE until IS NULL LIMIT %s
"""
_BOOKED = {"processor": "booked_cpu_millis", "memory": "booked_memory_bytes"}


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would be different: so many new tenants on a plan, hosts that would be gone, hosts of this size
    to be added (the pool's usual size without)."""

    add_tenants: int = 0
    plan: str = ""
    remove_hosts: tuple[str, ...] = ()
    host_size: Resources | None = None


@dataclass(frozen=True, slots=True)
class WhatIfResult:
    """asked: how many instances would need a place; placed of them on the hosts there are; new_hosts: how
    many more of host_size the others would take. full: the share of what may be planned with that is
    expected to be used of each resource, before and after. refusals: why the first without a place found
    none. used_hosts: hosts in use, before and after."""

    asked: int
    placed: int
    new_hosts: int
    host_size: Resources
    full: dict[str, tuple[float, float]]
    used_hosts: tuple[int, int]
    refusals: tuple[str, ...]
    is_unseen: bool

    @property
    def has_room(self) -> bool:
        """Nothing would be left without a place."""
        return self.placed == self.asked


@once("note_pool")
def note_pool() -> str:
    """Write down the pool of this day, and where it is going."""
    pool = reader.read()
    if not len(pool):
        return ""
    sample, instances = _sample()
    needed = hosts_needed(sample, usual_size(pool))
    hosts = math.ceil(needed.hosts * instances / max(1, len(sample)))
    booked = highs(pool.load).sum(axis=0, dtype=np.float64)
    offered = pool.offered.sum(axis=0)
    today = database_now().date()
    PoolDay.objects.update_or_create(
        day=today,
        defaults={
            "hosts": len(pool),
            "open_hosts": int((pool.is_open & pool.is_seen).sum()),
            "instances": instances,
            "offered_cpu_millis": int(offered[0]),
            "offered_memory_bytes": int(offered[1]),
            "offered_disk_bytes": int(offered[2]),
            "booked_cpu_millis": int(booked[0]),
            "booked_memory_bytes": int(booked[1]),
            "booked_disk_bytes": int(booked[2]),
            "hosts_needed": hosts,
            "scarcest": needed.scarce,
            "at": Now(),
        },
    )
    grown = growth(needed.scarce)
    later = None if grown is None else math.ceil(hosts * grown)
    PoolDay.objects.filter(day=today).update(hosts_in_30_days=later)
    return f"{hosts} of {len(pool)} hosts needed"


def growth(resource: str) -> float | None:
    """Return how many times as much of the resource will be booked in a month, by the days so far."""
    column = _BOOKED.get(resource, "booked_disk_bytes")
    days = PoolDay.objects.order_by("-day").values_list("day", column)[:60]
    return factor([(day.toordinal(), float(amount)) for day, amount in reversed(days)], AHEAD_DAYS)


def usual_size(pool: PoolView) -> Resources:
    """Return what a host of this pool offers, as half of them do at least."""
    middle = np.median(pool.offered, axis=0)
    return Resources(*(int(amount) for amount in middle))


def what_if(change: WhatIf) -> WhatIfResult:
    """Place what the change asks for, on paper. Raises FieldError for a plan or host that is not there."""
    pool = reader.read()
    views = [*_newcomers(change), *_homeless(change, pool)]
    gone = np.isin(pool.names, list(change.remove_hosts))
    left = _without(pool, gone)
    decided = place_all(views, left)
    after = _with_placed(left, views, decided.host_ids)
    homeless = [view for view, pk in zip(views, decided.host_ids, strict=True) if not pk]
    size = change.host_size or usual_size(pool)
    return WhatIfResult(
        asked=len(views),
        placed=len(views) - len(homeless),
        new_hosts=_new_hosts(homeless, size),
        host_size=size,
        full=_full(pool, after),
        used_hosts=(int((pool.instances > 0).sum()), int((after.instances > 0).sum())),
        refusals=decided.refusals[:5],
        is_unseen=decided.is_unseen,
    )


def room_elsewhere(host: Host) -> Fit:
    """Return whether what is on the host would be placed on the others; two queries, nothing is written down.

    The moves of a drain ask the same judge one by one. Starts in flight are over before most of them.
    """
    pool = reader.read()
    pool = replace(
        pool, is_open=pool.is_open & (pool.ids != host.pk), starting=np.zeros_like(pool.starting)
    )
    rows = Placement.objects.filter(host=host, until__isnull=True).order_by("pk")
    booked = [
        Booking(cpu_millis, memory_bytes, disk_bytes, tuple(shape))
        for cpu_millis, memory_bytes, disk_bytes, shape in rows.values_list(
            "cpu_millis", "memory_bytes", "disk_bytes", "shape"
        )
    ]
    views = [
        InstanceView(str(row), mapping.demand_row(booking)) for row, booking in enumerate(booked)
    ]
    hosts = place_all(views, pool).host_ids
    left = [booking for booking, host_id in zip(booked, hosts, strict=True) if not host_id]
    missing = Amounts(
        sum(max(booking.shape[:24], default=booking.cpu_millis) for booking in left),
        sum(booking.memory_bytes for booking in left),
        sum(booking.disk_bytes for booking in left),
    )
    return Fit(len(booked), len(booked) - len(left), missing)


def _newcomers(change: WhatIf) -> list[InstanceView]:
    if not change.add_tenants:
        return []
    if not 0 < change.add_tenants <= MOST_TENANTS:
        raise FieldError(
            f"add_tenants is {change.add_tenants}; it must be 1 to {MOST_TENANTS}",
            field="add_tenants",
        )
    plan = Plan.objects.filter(slug=change.plan).first()
    release = Release.objects.order_by("-created_at", "-pk").first()
    if plan is None or release is None:
        known = ", ".join(Plan.objects.values_list("slug", flat=True)) or "none yet"
        raise FieldError(f"there is no plan {change.plan[:40]!r}; there are {known}", field="plan")
    demand = mapping.demand_row(bookings.cold_booking(release, plan))
    return [InstanceView(id=f"new-{number}", demand=demand) for number in range(change.add_tenants)]


def _homeless(change: WhatIf, pool: PoolView) -> list[InstanceView]:
    unknown = [name for name in change.remove_hosts if name not in pool.names]
    if unknown:
        raise FieldError(f"there is no host {unknown[0][:32]!r}", field="remove_host")
    held = Placement.objects.filter(host__name__in=change.remove_hosts, until__isnull=True)
    return [
        mapping.view_of(placement.instance, placements.booking_of(placement))
        for placement in held.select_related("instance").order_by("pk")
    ]


def _without(pool: PoolView, gone: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> PoolView:
    """Return the pool without hosts that are gone: they take nothing and carry nothing."""
    load = pool.load.copy(order="K")
    load[gone] = 0
    offered = pool.offered.copy()
    offered[gone] = 0
    instances = np.where(gone, 0, pool.instances)
    beyond = None if pool.beyond is None else np.where(gone[:, None], 0, pool.beyond)
    is_open = pool.is_open & ~gone
    return replace(
        pool, load=load, beyond=beyond, offered=offered, instances=instances, is_open=is_open
    )


def _with_placed(pool: PoolView, views: Sequence[InstanceView], hosts: Sequence[int]) -> PoolView:
    load, instances = pool.load.copy(order="K"), pool.instances.copy()
    row_of = {int(pk): row for row, pk in enumerate(pool.ids)}
    for view, pk in zip(views, hosts, strict=True):
        if pk:
            load[row_of[pk]] += as_load(view.demand)
            instances[row_of[pk]] += 1
    return replace(pool, load=load, instances=instances)


def _new_hosts(homeless: Sequence[InstanceView], size: Resources) -> int:
    """Return how many empty hosts of this size the same placing fills; 0 when one cannot hold one of them."""
    if not homeless:
        return 0
    needed = hosts_needed(np.stack([view.demand for view in homeless]), size)
    return 0 if needed.too_large else needed.hosts


def _full(before: PoolView, after: PoolView) -> dict[str, tuple[float, float]]:
    found = {}
    for index, name in enumerate(RESOURCES[:3]):
        shares = []
        for pool in (before, after):
            most = float(limits(pool)[:, index].sum())
            used = float(expected(pool.load, pool.beyond)[:, index].sum(dtype=np.float64))
            shares.append(used / most if most > 0 else 0.0)
        found[name] = (shares[0], shares[1])
    return found


def _sample() -> tuple[F32, int]:
    """Demands of some thousand open placements, and how many there are in all."""
    instances = int(sum(Host.objects.values_list("placed", flat=True)))
    percent = min(100.0, 100.0 * SAMPLE / max(1, instances) * 1.5)
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLED, [percent, SAMPLE])
        rows = cursor.fetchall()
    demands = [
        mapping.demand_row(Booking(cpu_millis, memory_bytes, disk_bytes, tuple(shape)))
        for cpu_millis, memory_bytes, disk_bytes, shape in rows
    ]
    if not demands:
        return np.zeros((0, DEMAND_WIDTH), np.float32), instances
    return np.stack(demands), instances
