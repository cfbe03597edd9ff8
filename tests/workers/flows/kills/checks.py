"""What must be true of a shop once a flow has come to rest, whatever came between."""

from django.db import connection

from tenants.models import Host, Placement, Route
from tenants.states import (
    InstanceState,
    OperationState,
    TenantState,
    Verb,
)
from tests.workers.flows.kills.harness import Journey

BOOKED = (
    ("booked_memory_bytes", "memory_bytes"),
    ("booked_disk_bytes", "disk_bytes"),
)

# Of the locks those of the session; those of the transaction (with a zero) end with it.
_OPEN = """
SELECT 'an operation is open', count(*) FROM tenants_operation WHERE state IN ('pending', 'running')
UNION ALL
SELECT 'a lease is held', count(*) FROM tenants_operation WHERE lease_until IS NOT NULL
UNION ALL
SELECT 'a step is worked on', count(*) FROM tenants_step WHERE state = 'active'
UNION ALL
SELECT 'a copy is being made', count(*) FROM tenants_snapshot WHERE state = 'taking'
UNION ALL
SELECT 'a move is open: ' || phase, count(*) FROM tenants_move WHERE ended_at IS NULL GROUP BY phase
UNION ALL
SELECT 'a lock is held', count(*) FROM pg_locks
 WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid = 22283 AND objid <> 0
"""


def faults(journey: Journey) -> list[str]:
    """Every rule that is broken, in words."""
    outside = journey.prepared.outside
    journey.operation.refresh_from_db()
    return [
        *journey.faults,
        *outside.violations,
        *_shop(journey),
        *_left_behind(journey),
        *_open(),
        *_asked_to_stop(journey),
    ]


def _shop(journey: Journey) -> list[str]:
    """The shop runs at its place with the newest data; or it is gone; or it was never opened."""
    stage, outside = journey.prepared.stage, journey.prepared.outside
    tenant, instance = stage.tenant, stage.fresh()
    running = [name for name in outside.running() if name not in outside.lost]
    place = Placement.objects.filter(instance=instance, until=None).select_related("host").first()
    if tenant.state == TenantState.LIVE:
        if place is None or running != [place.host.name]:
            return [f"it is at {place and place.host.name} and runs on {running} ({instance.state})"]
        found = []
        if instance.state != InstanceState.RUNNING:
            found.append(f"it runs and is said to be {instance.state}")
        leads = outside.led_to(f"{tenant.slug}.localhost")
        if leads != place.host.name:
            found.append(f"it is at {place.host.name} and visitors are led to {leads or 'none'}")
        return found + (_data(journey, place.host.name) if outside.volume and _has_volume(journey) else [])
    if running:
        return [f"the shop is {tenant.state} and runs on {running}"]
    leads = outside.led_to(f"{tenant.slug}.localhost")
    found = [f"the shop is {tenant.state} and visitors are led to {leads}"] if leads else []
    if tenant.state not in (TenantState.REMOVED, TenantState.FAILED):
        found.append(f"the shop is {tenant.state}")
    if tenant.state == TenantState.FAILED and outside.orders:
        if place is None:
            found.append("visitors had ordered and its place is given up")
        else:
            found += _data(journey, place.host.name)
    return found


def _has_volume(journey: Journey) -> bool:
    return journey.prepared.scene.has_volume


def _data(journey: Journey, host: str) -> list[str]:
    """The volume holds exactly what the record says it does."""
    outside = journey.prepared.outside
    wanted = _wanted(journey, host)
    has = set(outside.contents(host)) if outside.volume in outside.drivers[host].volumes else None
    if has == wanted:
        return []
    if has is None:
        return [f"there is no volume on {host}"]
    lost, extra = sorted(wanted - has), sorted(has - wanted)
    return [f"on {host} these orders are lost: {lost}, and these are too many: {extra}"]


def _wanted(journey: Journey, host: str) -> set[str]:
    outside, operation = journey.prepared.outside, journey.operation
    everything = {order.name for order in outside.orders}
    may_go_back = operation.verb == Verb.RECOVER or (
        operation.verb == Verb.RESTORE
        and (operation.state == OperationState.SUCCEEDED or operation.error_code == "left_older")
    )
    if not may_go_back:
        return everything
    loads = [load for load in outside.loads if load.host == host]
    last = loads[-1] if loads else None
    if last is None:
        return everything
    if operation.verb == Verb.RESTORE:
        wanted = str(operation.arguments["snapshot"])
        if last.snapshot != wanted:
            return {f"as in {wanted}, not {last.snapshot}"}
    after = {o.name for o in outside.orders if o.host == host and o.at > last.at}
    return set(outside.copies.get(last.snapshot, frozenset())) | after


def _left_behind(journey: Journey) -> list[str]:
    """No second place, booking, container, volume or route."""
    outside, found = journey.prepared.outside, []
    open_places = list(Placement.objects.filter(until=None).select_related("host"))
    places = {one.host.name for one in open_places}
    for host in Host.objects.all():
        mine = [one for one in open_places if one.host_id == host.pk]
        for booked, used in BOOKED:
            if getattr(host, booked) != sum(getattr(one, used) for one in mine):
                found.append(f"{booked} of {host.name} is {getattr(host, booked)}")
    for name, driver in outside.drivers.items():
        if name in places or name in outside.lost:
            continue
        if driver.list():
            found.append(f"a container is left on {name}")
        if driver.volumes:
            found.append(f"a volume is left on {name}")
    for route in Route.objects.all():
        table = outside.table.get(route.hostname, ("", 0))[0]
        if table != route.value:
            found.append(f"the edge holds {table!r}, the record {route.value!r}")
        if "@hold" in route.value:
            found.append("requests are held")
    if not places and any(value for value, _ in outside.table.values()):
        found.append("a route is left")
    return found


def _open() -> list[str]:
    """No operation, step, lease, copy or lock is open."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN)
        return [what for what, count in cursor.fetchall() if count]


def _asked_to_stop(journey: Journey) -> list[str]:
    """Who is told that it stops sees it stop; who is told that it is too late sees it end well."""
    heard = journey.trouble.is_cancel_heard
    ended = journey.operation.state
    if heard and ended != OperationState.CANCELLED:
        return [f"a cancel was granted, and it {ended}"]
    if heard is False and ended == OperationState.CANCELLED:
        return ["a cancel was refused, and it is cancelled"]
    return []

