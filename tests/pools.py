"""Hosts of the record as single values, row by row: what the quick way must agree with."""

from collections.abc import Iterable

import numpy as np
from django.utils import timezone

from tenants.pool.models import Host, HostReport
from tenants.states import HostHealth, HostState
from tenants.usage.models import HostWeek
from workers.scheduler import Resources
from workers.scheduler.demand_vector import CPU_SQUARE, DISK, F32, LOAD_WIDTH, MEMORY
from workers.scheduler.profiles.history import HISTORY_WIDTH
from workers.scheduler.types import HostView


def host_views(hosts: Iterable[Host]) -> list[HostView]:
    """Hosts from their rows and their reports, and all recorded weeks with one more query."""
    weeks = {pk: bytes(beyond) for pk, beyond in HostWeek.objects.values_list("host", "beyond")}
    return [_view(host, weeks.get(host.pk)) for host in hosts]


def _view(host: Host, week: bytes | None) -> HostView:
    report: HostReport | None = getattr(host, "report", None)
    age = (timezone.now() - report.seen_at).total_seconds() if report else 1e9
    load = np.zeros(LOAD_WIDTH, np.float32)
    if host.load:
        load[:96] = host.load[:96]
        load[CPU_SQUARE.start :] = host.load[96:]
    load[MEMORY], load[DISK] = host.booked_memory_bytes, host.booked_disk_bytes
    return HostView(
        id=host.pk,
        name=host.name,
        is_open=host.state == HostState.OPEN,
        is_seen=age <= 10 and host.health == HostHealth.ALIVE,
        offered=Resources(
            host.capacity_cpu_millis - host.reserve_cpu_millis,
            host.capacity_memory_bytes - host.reserve_memory_bytes,
            host.capacity_disk_bytes - host.reserve_disk_bytes,
        ),
        load=load,
        beyond=_week(host, week),
        instances=host.placed,
        busy=(
            (
                report.used_cpu_millis / host.capacity_cpu_millis,
                report.used_memory_bytes / host.capacity_memory_bytes,
            )
            if report and age <= 10
            else (-1.0, -1.0)
        ),
    )


def _week(host: Host, week: bytes | None) -> F32 | None:
    if not host.placed:
        return np.zeros(HISTORY_WIDTH, np.float32)
    return None if week is None else np.frombuffer(week, np.float32)
