"""What must be true of a shop once a flow has come to rest, whatever came between."""

from dataclasses import dataclass

from django.db import connection

from tenants.operations.models import Operation
from tenants.states import InstanceState, OperationState, TenantState, Verb
from tests.workers.flows.kills import words
from tests.workers.flows.kills.harness import Journey
from tests.workers.flows.kills.words import Facts
from workers.flows.errors import LEFT_OLDER

# The record in one question: much of a case's time is the database's.
_RECORD = """
SELECT (SELECT state FROM tenants_tenant WHERE id = %(tenant)s),
       (SELECT state FROM tenants_instance WHERE id = %(instance)s),
       (SELECT reason FROM tenants_transition WHERE subject = 'operation'
           AND subject_id = %(operation)s ORDER BY id DESC LIMIT 1),
       ARRAY(SELECT host.name FROM tenants_placement AS place
               JOIN tenants_host AS host ON host.id = place.host_id WHERE place.until IS NULL),
       ARRAY(SELECT hostname || ' ' || value FROM tenants_route),
       ARRAY(SELECT host.name || ' has ' || host.booked_memory_bytes || ' bytes booked'
               FROM tenants_host AS host
              WHERE (host.booked_memory_bytes, host.booked_disk_bytes, host.booked_cpu_millis)
                    <> (
                      SELECT coalesce(sum(memory_bytes), 0), coalesce(sum(disk_bytes), 0),
                             coalesce(sum(cpu_millis), 0)
                        FROM tenants_placement WHERE host_id = host.id AND until IS NULL))
    || ARRAY(SELECT 'an operation is open: ' || verb FROM tenants_operation
              WHERE state IN ('pending', 'running'))
    || ARRAY(SELECT 'a lease is held: ' || verb FROM tenants_operation
              WHERE lease_until IS NOT NULL)
    || ARRAY(SELECT 'a step is worked on: ' || name FROM tenants_step WHERE state = 'active')
    || ARRAY(SELECT 'a copy is being made' FROM tenants_snapshot WHERE state = 'taking')
    || ARRAY(SELECT 'a move is open' FROM tenants_move WHERE ended_at IS NULL)
    || ARRAY(SELECT 'requests are held' FROM tenants_route WHERE value LIKE '%%@hold')
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What the database says. reason: why the operation ended. places: hosts that have an open placement.
    left: what should not be there.
    """

    tenant: str
    instance: str
    reason: str
    places: list[str]
    routes: list[str]
    left: list[str]


def faults(journey: Journey) -> list[str]:
    """Every rule that is broken, in words; to be asked when nothing is open any more."""
    outside, stage = journey.prepared.outside, journey.prepared.stage
    journey.operation.refresh_from_db()
    with connection.cursor() as cursor:
        keys = {"tenant": stage.instance.tenant_id, "instance": stage.instance.pk}
        cursor.execute(_RECORD, keys | {"operation": journey.operation.pk})
        record = Record(*cursor.fetchone())
    return [
        *journey.faults,
        *outside.violations,
        *_shop(journey, record),
        *record.left,
        *_left_outside(journey, record),
        *_asked_to_stop(journey),
        *_lies(journey, record),
    ]


def _shop(journey: Journey, record: Record) -> list[str]:
    """The shop runs at its place with the newest data; or it is gone; or it was never opened."""
    outside = journey.prepared.outside
    running = [name for name in outside.running() if name not in outside.lost]
    leads = outside.led_to(journey.prepared.hostname)
    if record.tenant != TenantState.LIVE:
        found = [f"the shop is {record.tenant} and runs on {name}" for name in running]
        if leads:
            found.append(f"the shop is {record.tenant} and visitors are led to {leads}")
        if record.tenant not in (TenantState.REMOVED, TenantState.FAILED):
            found.append(f"the shop stays {record.tenant}")
        if record.tenant == TenantState.FAILED and outside.orders:
            found += (
                _data(journey, record.places[0]) if record.places else ["its place is given up"]
            )
        return found
    if record.instance == InstanceState.DATA_MISSING and _is_without_data(journey, record):
        return [f"its data is missing and it runs on {name}" for name in running]
    if not (record.places == running == [leads]) or record.instance != InstanceState.RUNNING:
        return [
            f"it is {record.instance} on {record.places}, runs on {running}, visitors are led to {leads}"
        ]
    return _data(journey, leads) if journey.prepared.scene.has_volume else []


def _is_without_data(journey: Journey, record: Record) -> bool:
    """Whether the data is missing indeed: then it waits at its place for what somebody chooses."""
    outside = journey.prepared.outside
    return [outside.volume in outside.drivers[name].volumes for name in record.places] == [False]


def _data(journey: Journey, host: str) -> list[str]:
    """The volume holds exactly what the record says it does."""
    outside = journey.prepared.outside
    if outside.volume not in outside.drivers[host].volumes:
        return [f"there is no volume on {host}"]
    has = set(outside.contents(host))
    wanted = _wanted(journey, host, is_earlier=_has_gone_back(journey.operation))
    if has == wanted:
        return []
    lost, extra = sorted(wanted - has), sorted(has - wanted)
    return [f"on {host} these orders are lost: {lost}, and these are too many: {extra}"]


def _wanted(journey: Journey, host: str, *, is_earlier: bool) -> set[str]:
    """All that visitors left; or what was in the copy that was gone back to, and what they left since."""
    outside, asked = journey.prepared.outside, journey.operation.arguments.get("snapshot")
    everything = {order.name for order in outside.orders}
    loads = [load for load in outside.loads if load.host == host]
    if not loads or not is_earlier:
        return everything
    last = loads[-1]
    if journey.operation.verb == Verb.RESTORE and last.snapshot != asked:
        return {f"as in {asked}, not {last.snapshot}"}
    after = {o.name for o in outside.orders if o.host == host and o.at > last.at}
    return set(outside.copies.get(last.snapshot, frozenset())) | after


def _has_gone_back(operation: Operation) -> bool:
    """Whether the operation says that the shop has earlier data than before it."""
    if operation.verb == Verb.RESTORE:
        return operation.state == OperationState.SUCCEEDED or operation.error_code == LEFT_OLDER
    return operation.verb == Verb.RECOVER


def _lies(journey: Journey, record: Record) -> list[str]:
    """The words are held against what is so; those of one that had ended before the removal were of then."""
    operation = journey.operation
    if journey.trouble.removal is not None and operation.error_code != "superseded":
        return []
    return words.lies(operation, record.reason, _facts(journey, record))


def _facts(journey: Journey, record: Record) -> Facts:
    """What is so of the shop, for the words to be held against."""
    outside, scene = journey.prepared.outside, journey.prepared.scene
    at = record.places[0] if record.places else ""

    def has(*, is_earlier: bool) -> bool:
        if not at or not scene.has_volume:
            return True
        return set(outside.contents(at)) == _wanted(journey, at, is_earlier=is_earlier)

    return Facts(
        runs=outside.running() != [] and outside.led_to(journey.prepared.hostname) == at,
        is_removed=record.tenant == TenantState.REMOVED,
        at=at,
        was_at=journey.prepared.was_at,
        has_all=has(is_earlier=False),
        has_earlier=has(is_earlier=True),
        copy=str(journey.operation.arguments.get("snapshot", "")),
        was_cancelled=journey.operation.cancel_requested,
        is_removal_asked=journey.trouble.removal is not None,
    )


def _left_outside(journey: Journey, record: Record) -> list[str]:
    """No container, volume or route where the record has none."""
    outside, found = journey.prepared.outside, []
    for name, driver in outside.drivers.items():
        if name in record.places or name in outside.lost:
            continue
        found += [f"a container is left on {name}" for _ in driver.list()]
        found += [f"a volume is left on {name}" for _ in driver.volumes]
    held = sorted(f"{hostname} {value}" for hostname, (value, _) in outside.table.items())
    if held != sorted(record.routes):
        found.append(f"the edge holds {held}, the record {record.routes}")
    if not record.places and any(value for value, _ in outside.table.values()):
        found.append("a route is left")
    return found


def _asked_to_stop(journey: Journey) -> list[str]:
    """Who is told that it stops sees it stop; who is told that it is too late sees it end well."""
    heard = journey.trouble.is_cancel_heard
    if journey.is_turned and journey.prepared.scene.back_by == "cancel":
        return []  # somebody else's was granted before
    ended = journey.operation.state
    if heard and ended != OperationState.CANCELLED:
        return [f"a cancel was granted, and it {ended}"]
    if heard is False and ended == OperationState.CANCELLED:
        return ["a cancel was refused, and it is cancelled"]
    return []
