"""Bringing the shop of a lost host back elsewhere: place, load the last copy of its data, start, route,
check.

The old place is given up in the transaction that books the new one, and only when there is a copy to
start from: a shop never comes back empty. Without a copy, or without room, it keeps its place on the
lost host and waits, for that host or for an operator. When the host comes back first, the shop is
started there again, with nothing lost.

Which copy was loaded, how old it was and where is kept in the operation's arguments: a repeat must not
load it over what a container has written since.
"""

from contextlib import suppress
from datetime import datetime

from django.db import transaction

from runtime.errors import HostUnreachableError
from tenants.errors import CancelledError, FrozenError, SlotsTakenError
from tenants.models import FreezeSwitch, HostReport, Operation, Placement, Snapshot
from tenants.services import (
    freezes,
    health,
    leases,
    operations,
    placements,
    routes,
    snapshots,
    transitions,
)
from tenants.services.leases import Lease
from tenants.states import EventKind, HostHealth, InstanceState, TenantState
from workers import fleet, scheduler
from workers.flows import move, provision, volumes
from workers.flows.errors import LeftoversError, NoCopyError
from workers.flows.hands import Hands
from workers.scheduler import Unplaced


def carry_out(lease: Lease, hands: Hands) -> None:
    """Bring the shop back. Raises what stood in the way; the caller repeats or gives up."""
    operation = fleet.operation(lease)
    # A host that cannot be asked now is asked again by workers/drains.py.
    with suppress(LeftoversError):
        move.clear_second_place(lease, operation, hands)
    placement, copy = _place(lease, operation)
    told = _load(lease, operation, placement, hands, copy)
    leases.begin_step(lease, "start")
    if told:
        leases.note_step(lease, "load", told)
    hands.driver_for(placement.host).ensure_running(
        fleet.spec_of(operation, placement), fence=fleet.fence_of(placement, lease)
    )
    ready = provision.route(lease, operation, placement, hands)
    leases.begin_step(lease, "check")
    provision.check(operation, ready, hands)
    _record(lease, operation, placement)


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly. Whatever place and data the shop has by now it keeps."""
    operation = fleet.operation(lease)
    with transaction.atomic():
        if code == CancelledError.code:
            operations.cancelled(lease, message=message)
        else:
            operations.fail(lease, code=code, message=message)
        if operation.instance.state == InstanceState.RUNNING:
            transitions.move(operation.instance, InstanceState.PROVISIONING, reason=operation.verb)
        if operation.instance.state != InstanceState.FAILED:
            transitions.move(operation.instance, InstanceState.FAILED, reason=message)


def _place(lease: Lease, operation: Operation) -> tuple[Placement, Snapshot | None]:
    """Where the shop comes back, and the copy to be loaded there; None when its data is there already."""
    old = placements.open_placement(operation.instance)
    if old is not None and old.host.health != HostHealth.LOST:
        with transaction.atomic():
            leases.begin_step(lease, "place")
            provision.move_to_provisioning(operation)
        return old, _copy_for(operation, old)
    if freezes.is_on(FreezeSwitch.Name.REPLACING):
        leases.begin_step(lease, "place")
        raise FrozenError("an operator has stopped bringing shops back elsewhere for a while")
    copy = None
    if fleet.volume_of(operation):
        copy = _newest(lease, operation, old)
    decision = scheduler.place(
        fleet.view_of(operation.instance, fleet.demand_of(operation)), fleet.hosts()
    )
    if isinstance(decision, Unplaced):
        provision.refuse(lease, operation, decision)
    with transaction.atomic():
        leases.begin_step(lease, "place")
        provision.move_to_provisioning(operation)
        if old is not None:
            placements.release(
                old,
                hostname=routes.hostname_of(operation.tenant),
                waiting_for=[seat.name for seat in fleet.edges()],
            )
        placement = provision.reserve_first(operation, decision)
        if placement is None:
            raise SlotsTakenError("every host that had room was taken in the meantime")
        _remember(operation, old, placement, copy)
    return placement, copy


def _newest(lease: Lease, operation: Operation, old: Placement | None) -> Snapshot:
    copy = snapshots.newest(operation.tenant)
    if copy is None:
        leases.begin_step(lease, "place")
        where = f"lost host {old.host.name}" if old else "a lost host"
        raise NoCopyError(
            f"no copy of the shop's data is kept off {where}; it comes back with that host, with "
            "nothing lost"
        )
    return copy


def _copy_for(operation: Operation, placement: Placement) -> Snapshot | None:
    """What is still to be loaded at a place that an earlier attempt booked, or that came back."""
    arguments = operation.arguments
    is_ours = arguments.get("placement") == placement.pk
    is_loaded = arguments.get("loaded") == _life_of(placement)
    if not is_ours or is_loaded or not fleet.volume_of(operation):
        return None
    copy = snapshots.newest(operation.tenant)
    if copy is None:
        raise NoCopyError("the copy of the shop's data that was to be loaded is gone")
    return copy


def _load(
    lease: Lease,
    operation: Operation,
    placement: Placement,
    hands: Hands,
    copy: Snapshot | None,
) -> str:
    """Load the copy; a sentence that says how old it is, "" when nothing had to be loaded."""
    leases.begin_step(lease, "load")
    if copy is None:
        return _sentence(operation)
    volumes.load(lease, operation, placement, hands, copy)
    with transaction.atomic():
        leases.begin_step(lease, "load")
        _keep(operation, loaded=_life_of(placement))
    return _sentence(operation)


def _remember(
    operation: Operation, old: Placement | None, placement: Placement, copy: Snapshot | None
) -> None:
    """What is told of this recovery, and what a repeat has to know."""
    facts: dict[str, object] = {"placement": placement.pk, "host": placement.host.name}
    if old is not None:
        facts["lost_host"] = old.host.name
    if copy is not None and copy.taken_at is not None:
        facts |= {"snapshot": copy.public_id, "taken_at": copy.taken_at.isoformat()}
        if old is not None:
            facts["lost_seconds"] = _lost_seconds(old, copy.taken_at)
    _keep(operation, **facts)


def _lost_seconds(old: Placement, taken_at: datetime) -> int:
    """For how long before its host fell silent the shop's changes are in no copy."""
    seen_at = HostReport.objects.filter(host=old.host_id).values_list("seen_at", flat=True).first()
    last: datetime = seen_at or taken_at
    return max(0, round((last - taken_at).total_seconds()))


def _keep(operation: Operation, **facts: object) -> None:
    operation.arguments = operation.arguments | facts
    Operation.objects.filter(pk=operation.pk).update(arguments=operation.arguments)


def _life_of(placement: Placement) -> list[int]:
    """A place in one life of its host: a host that was lost since has to be given the copy again."""
    return [placement.pk, placement.host.epoch]


def _sentence(operation: Operation) -> str:
    taken_at, lost = (operation.arguments.get(name) for name in ("taken_at", "lost_seconds"))
    if not isinstance(taken_at, str):
        return ""
    since = f"; what changed in the {lost} s after it is lost" if isinstance(lost, int) else ""
    return f"copy of {datetime.fromisoformat(taken_at):%Y-%m-%d %H:%M:%S} UTC{since}"


@transaction.atomic
def _record(lease: Lease, operation: Operation, placement: Placement) -> None:
    if not _is_alive(placement):
        raise HostUnreachableError(f"host {placement.host.name} was lost in the meantime")
    operations.succeed(lease)
    transitions.move(operation.instance, InstanceState.RUNNING, reason="answered through the edge")
    if operation.tenant.state != TenantState.LIVE:
        transitions.move(operation.tenant, TenantState.LIVE, reason="the shop answers")
    told = ("host", "lost_host", "snapshot", "taken_at", "lost_seconds")
    facts = {name: operation.arguments[name] for name in told if name in operation.arguments}
    health.note(operation.instance, EventKind.RECOVERED, {"host": placement.host.name} | facts)


def _is_alive(placement: Placement) -> bool:
    return Placement.objects.filter(
        pk=placement.pk, until__isnull=True, host__epoch=placement.host.epoch
    ).exists()
