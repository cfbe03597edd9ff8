"""Turns shipped usage into what instances are expected to use, host by host, and books them at that.

A host's rows of ended hours are read, folded into the profiles of its instances, the instances booked
anew and the rows marked, all in one transaction: a worker that is killed in the middle has counted
nothing, and one that comes twice finds nothing to do. What an hour holds is replaced, not added, if it
should come twice all the same. Hosts wait for each other nowhere; the work of a round is bounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.db import connection, transaction

from runtime.errors import SpecInvalidError
from tenants.placement import placements, resizing
from tenants.placement.bookings import Booking, cold_booking
from tenants.placement.models import Placement
from tenants.states import InstanceState
from tenants.usage import profiles as profile_services
from tenants.usage.models import HostUsage
from tenants.usage.profiles import PackedProfile
from workers.leases.periodic import database_now, once
from workers.pool import mapping
from workers.scheduler.demand_vector import CPU, F32
from workers.scheduler.profiles.history import beyond
from workers.scheduler.profiles.usage_profile import Profiles, demands, fold, stacked
from workers.usage import rightsizing, windows
from workers.usage.windows import Row

HOSTS_AT_ONCE = 200
# More than a day of windows: a host that was not folded for longer is caught up with bit by bit.
ROWS_AT_ONCE = 300
# An hour's last window ends a little after it, and is shipped a little later.
GRACE = timedelta(minutes=4)
HALF_A_WINDOW = timedelta(seconds=150)
MATURE_HOURS = 24

_DUE = """
SELECT host_id FROM tenants_hostusage
 WHERE NOT is_folded AND at < %s GROUP BY host_id ORDER BY min(at) LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class MeasuredInstance:
    """An instance that was on the host in these hours; placement None when it is not there any more."""

    instance_id: int
    public_id: str
    app_id: int
    plan_id: int
    ceilings: tuple[int, int, int, int]
    cold: Booking
    placement: Placement | None


@once("fold_usage")
def fold_usage() -> str:
    """Fold what is due, those first that wait longest."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [_end() + HALF_A_WINDOW, HOSTS_AT_ONCE])
        due = [pk for (pk,) in cursor.fetchall()]
    folded = changed = 0
    for host_id in due:
        rows, booked = fold_host(host_id)
        folded, changed = folded + rows, changed + booked
    return f"{folded} windows of {len(due)} hosts folded, {changed} booked anew" if due else ""


@transaction.atomic
def fold_host(host_id: int) -> tuple[int, int]:
    """Fold the host's ended hours: how many rows, and how many instances are booked otherwise now."""
    rows, end = _rows(host_id)
    if not rows:
        return 0, 0
    HostUsage.objects.filter(pk__in=[row.pk for row in rows]).update(is_folded=True)
    placed = _placed(host_id, since=rows[0].at)
    if not placed:
        return len(rows), 0
    before = profile_services.packed_of([instance.instance_id for instance in placed])
    known = stacked([before.get(instance.instance_id) for instance in placed])
    profiles = _folded(rows, _row_before(rows[0]), placed, known)
    profile_services.store(
        [
            PackedProfile(
                instance.instance_id,
                instance.app_id,
                instance.plan_id,
                profile.tobytes(),
                hours=int(profile["hours"]),
                is_mature=bool(profile["hours"] >= MATURE_HOURS),
                until=end,
            )
            for instance, profile in zip(placed, profiles, strict=True)
            if profile["hours"]
        ]
    )
    return len(rows), _rebook(host_id, placed, profiles)


def _rows(host_id: int) -> tuple[list[HostUsage], datetime]:
    end = _end()
    rows = HostUsage.objects.select_for_update(skip_locked=True).filter(
        host=host_id, is_folded=False, at__lt=end + HALF_A_WINDOW
    )
    return list(rows.order_by("at")[:ROWS_AT_ONCE]), end


def _end() -> datetime:
    """Return up to when hours have ended for certain, by the database's clock."""
    return (database_now() - GRACE).replace(minute=0, second=0, microsecond=0)


def _row_before(first: HostUsage) -> Row | None:
    """Only for agents that make no windows."""
    if first.window is not None:
        return None
    found = HostUsage.objects.filter(host=first.host_id, at__lt=first.at).order_by("-at").first()
    return Row(found.at, found.window, found.samples) if found else None


def _placed(host_id: int, *, since: datetime) -> list[MeasuredInstance]:
    """Return what the record places there: a host speaks for its own instances only."""
    open_ones = Placement.objects.filter(host=host_id, until__isnull=True)
    gone = Placement.objects.filter(host=host_id, until__gt=since).exclude(
        instance__state=InstanceState.RETIRED
    )
    seen: dict[int, MeasuredInstance] = {}
    colds: dict[tuple[int, int], Booking] = {}
    for placement in (
        *open_ones.select_for_update(of=("self",))
        .select_related("instance__release", "instance__tenant__plan")
        .order_by("pk"),
        *gone.select_related("instance__release", "instance__tenant__plan"),
    ):
        instance, tenant = placement.instance, placement.instance.tenant
        if instance.pk in seen:
            continue
        kind = (instance.release_id, tenant.plan_id)
        if kind not in colds:
            colds[kind] = cold_booking(instance.release, tenant.plan)
        seen[instance.pk] = MeasuredInstance(
            instance_id=instance.pk,
            public_id=instance.public_id,
            app_id=tenant.app_id,
            plan_id=tenant.plan_id,
            ceilings=rightsizing.limits_of(tenant.plan),
            cold=colds[kind],
            placement=placement if placement.until is None else None,
        )
    return list(seen.values())


def _folded(
    rows: Sequence[HostUsage],
    before: Row | None,
    placed: Sequence[MeasuredInstance],
    profiles: Profiles,
) -> Profiles:
    index_of = {instance.public_id: index for index, instance in enumerate(placed)}
    ceilings = np.array([instance.ceilings[1] for instance in placed], np.float64)
    reported = [Row(row.at, row.window, row.samples) for row in rows]
    try:
        found = windows.hours(reported, before, index_of, ceilings)
    except SpecInvalidError:
        return profiles  # written by a version whose windows this one does not know
    for hour in found:
        profiles = fold(profiles, hour)
    return profiles


def _rebook(host_id: int, placed: Sequence[MeasuredInstance], profiles: Profiles) -> int:
    colds: F32 = np.stack([mapping.demand_row(instance.cold) for instance in placed])
    ceilings: F32 = np.array([instance.ceilings for instance in placed], np.float32)
    expected = demands(profiles, colds, ceilings)
    changes, here, booked = [], [], []
    for index, (instance, profile, demand) in enumerate(
        zip(placed, profiles, expected, strict=True)
    ):
        if instance.placement is None:
            continue
        booking = rightsizing.next_booking(instance.placement, demand) if profile["hours"] else None
        if booking is not None:
            changes.append((instance.placement, booking))
        here.append(index)
        booked.append(mapping.demand_row(booking or placements.booking_of(instance.placement)))
    rebooked = resizing.rebook(host_id, changes)
    if here:
        week = beyond(profiles[here], np.stack(booked), ceilings[here, CPU])
        week = week.sum(axis=0, dtype=np.float64)
        profile_services.store_week(host_id, week.astype(np.float32).tobytes())
    return rebooked
