"""Bringing a tenant's shop up: place, start, route, check, and only then say running.

Repair is the same way walked again for a shop that was running: it keeps its place, because its
volume is there. Every step may be repeated; a repeat starts from the placement that was recorded.
"""

import time
from contextlib import suppress
from typing import NoReturn

from django.db import transaction

from runtime.driver import Driver, VolumeFate
from runtime.errors import (
    DataMissingError,
    HostOutdatedError,
    HostUnreachableError,
    RuntimeCoreError,
)
from tenants import metrics
from tenants.errors import (
    CancelledError,
    FrozenError,
    NoRoomError,
    PoolUnseenError,
    RoomAwaitedError,
    SlotsTakenError,
    UpdateAwaitedError,
)
from tenants.models import Decision, Operation, Placement
from tenants.services import (
    leases,
    missing,
    operations,
    placements,
    room,
    routes,
    snapshot_rounds,
    transitions,
)
from tenants.services.leases import Lease
from tenants.states import HostHealth, InstanceState, TenantState, Verb
from workers import fleet, pool_snapshot, scheduler
from workers.edges import EdgeSeat
from workers.flows import hold_swap, ports
from workers.flows.errors import HostLostError, PortsTakenError, ShopSilentError
from workers.flows.hands import Hands
from workers.scheduler import Placed, Unplaced
from workers.scheduler.place import sentences

CHECK_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.02


def carry_out(lease: Lease, hands: Hands) -> None:
    """Bring the shop up. Raises what stood in the way; the caller repeats or gives up."""
    operation = fleet.operation(lease)
    placement = _place(lease, operation)
    driver = hands.driver_for(placement.host)
    leases.begin_step(lease, "start")
    try:
        if _data_came_back(operation, driver):
            # It may run on, in a directory that is not the volume any more.
            fence = fleet.fence_of(placement, lease)
            driver.ensure_stopped(operation.instance.public_id, fence=fence)
        ports.start(lease, fleet.spec_of(operation, placement), placement, driver)
    except HostOutdatedError as error:
        raise UpdateAwaitedError(error.message) from error
    except PortsTakenError:
        _shun(lease, operation, placement, hands)
        raise
    ready = route(lease, operation, placement, hands)
    leases.begin_step(lease, "check")
    check(operation, ready, hands)
    _record(lease, operation)


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly. A sign-up that failed or was called off leaves nothing running, and holds
    no room unless visitors were led to it; a repair that failed leaves the shop where its data is.
    """
    operation = fleet.operation(lease)
    placement = placements.open_placement(operation.instance)
    is_clean = is_awaited = False
    waiting_for: list[str] = []
    if operation.verb == Verb.PROVISION and placement is not None:
        if _is_stray(operation, code):
            waiting_for = withdraw(operation, hands)
            is_clean = _clear(lease, operation, placement, hands)
        elif "restored" not in operation.arguments:
            is_awaited = _awaits_data(placement, code)
            if not is_awaited:
                _close(lease, operation, placement, hands)
    with transaction.atomic():
        operations.end_badly(lease, code=code, message=message)
        if placement is not None and is_clean:
            hostname = routes.hostname_of(operation.tenant)
            placements.release(placement, hostname=hostname, waiting_for=waiting_for)
        if is_awaited and operation.tenant.state != TenantState.LIVE:
            # From here on it is a shop like any other: its host, a copy or a choice brings it back.
            transitions.move(operation.tenant, TenantState.LIVE, reason="it was open already")
        if code == DataMissingError.code and operation.tenant.state == TenantState.LIVE:
            missing.say(operation.instance, reason=message)
        elif operation.instance.state != InstanceState.FAILED:
            transitions.move(operation.instance, InstanceState.FAILED, reason=message)
        if operation.tenant.state == TenantState.REQUESTED:
            transitions.move(operation.tenant, TenantState.FAILED, reason=message)


def _shun(lease: Lease, operation: Operation, placement: Placement, hands: Hands) -> None:
    """Give up a place at which a new shop finds no port: its next try looks for another host first."""
    if operation.verb != Verb.PROVISION or fleet.may_have_data(operation):
        return
    if not _clear(lease, operation, placement, hands):
        return
    shunned = [*operation.arguments.get("shunned", []), placement.host_id]
    with transaction.atomic():
        leases.begin_step(lease, "start")
        leases.keep_arguments(lease, operation.arguments | {"shunned": shunned})
        hostname = routes.hostname_of(operation.tenant)
        placements.release(placement, hostname=hostname, waiting_for=[])


def _is_stray(operation: Operation, code: str) -> bool:
    """Whether a sign-up need not keep its place: no data of it can lie there."""
    is_elsewhere = "restored" in operation.arguments and code == DataMissingError.code
    return is_elsewhere or not fleet.may_have_data(operation)


def _awaits_data(placement: Placement, code: str) -> bool:
    """Whether what a sign-up's shop holds since it was open is not to be had just now."""
    is_gone = code == DataMissingError.code or placement.host.health == HostHealth.LOST
    return is_gone and code != CancelledError.code


def _close(lease: Lease, operation: Operation, placement: Placement, hands: Hands) -> None:
    """Lead no more visitors to a shop that could not be set up, and stop it. What they left there stays,
    with its place, for the next try or until a removal.
    """
    withdraw(operation, hands)
    with suppress(RuntimeCoreError):
        hands.driver_for(placement.host).ensure_stopped(
            operation.instance.public_id, fence=fleet.fence_of(placement, lease)
        )


def _data_came_back(operation: Operation, driver: Driver) -> bool:
    """Whether this repairs a shop whose data was missing and is here again, in whichever of its tries.

    DataMissingError where it is missing still: where its container runs on, a start would not say so.
    """
    volume = fleet.volume_of(operation)
    if operation.verb != Verb.REPAIR or not volume or not missing.is_told(operation.instance):
        return False
    if volume not in driver.volumes_here((volume,)):
        raise DataMissingError(f"volume {volume}: it is not on this host as it was known")
    return True


def withdraw(operation: Operation, hands: Hands) -> list[str]:
    """Take the tenant's route off the edges; the names of those that have not yet said so."""
    if not routes.was_opened(operation.tenant):
        return []
    seats = fleet.edges()
    change = fleet.message_of(routes.withdraw(operation.tenant))
    spread = hands.edges.apply(seats, [change])
    return [seat.name for seat in seats if seat.name not in spread.acknowledged]


def _place(lease: Lease, operation: Operation) -> Placement:
    if getattr(operation, "has_placement", False):
        with transaction.atomic():
            leases.begin_step(lease, "place")
            move_to_provisioning(operation)
        placement = placements.open_placement(operation.instance)
        if placement is not None and placement.host.health == HostHealth.LOST:
            _leave(operation, placement)
            placement = None
        if placement is not None:
            return placement
    if getattr(operation, "is_frozen", False):
        leases.begin_step(lease, "place")
        raise FrozenError("an operator has stopped new placements for a while")
    booking = fleet.demand_of(operation)
    decision = scheduler.place(fleet.view_of(operation.instance, booking), pool_snapshot.read())
    if isinstance(decision, Unplaced):
        refuse(lease, operation, decision)
    with transaction.atomic():
        leases.begin_step(lease, "place")
        move_to_provisioning(operation)
        placement = reserve_first(operation, decision)
    if placement is None:
        metrics.REFUSALS.labels(operation.verb, "taken").inc()
        raise SlotsTakenError("every host that had room was taken in the meantime")
    return placement


def _leave(operation: Operation, placement: Placement) -> None:
    """Give a place on a lost host up: nobody has seen a shop that was only being set up there.

    One that visitors were led to may have data; it is brought back by a recovery, which follows.
    """
    if operation.verb != Verb.PROVISION or "restored" in operation.arguments:
        raise HostUnreachableError(f"host {placement.host.name} is lost")
    if fleet.may_have_data(operation):
        raise HostLostError(
            f"host {placement.host.name} was lost when the shop was open already; it is brought back with"
            " its data, or its page says what can be done"
        )
    hostname = routes.hostname_of(operation.tenant)
    waiting_for = [seat.name for seat in fleet.edges()]
    placements.release(placement, hostname=hostname, waiting_for=waiting_for)


def reserve_first(operation: Operation, decision: Placed) -> Placement | None:
    """Book the first candidate that still has room; None when none has.

    Raises RouteRefusedError, before anything is started there, when edges could not lead to it.
    """
    booking = fleet.demand_of(operation)
    reasons = list(decision.reasons)
    shunned = operation.arguments.get("shunned", [])
    for host_id in sorted(decision.candidates, key=shunned.__contains__):
        placement = placements.reserve(operation.instance, host_id, booking, reasons=reasons)
        if placement is not None:
            routes.check_accepted(
                operation.tenant, address=placement.host.address, port=placement.port
            )
            return placement
    return None


def refuse(lease: Lease, operation: Operation, decision: Unplaced) -> NoReturn:
    """Raise what the decision means: to wait for a start slot or for a host, or that the pool is full.

    It is kept for operators, but for a wait for a slot, which is over in a moment.
    """
    metrics.REFUSALS.labels(operation.verb, decision.scarce or decision.why).inc()
    if decision.why == "busy":
        raise SlotsTakenError("other shops are starting; this one starts as soon as a slot is free")
    reasons = list(sentences(decision.refusals, decision.hidden))
    with transaction.atomic():
        leases.begin_step(lease, "place")
        Decision.objects.create(
            instance=operation.instance,
            outcome="unseen" if decision.is_unseen else "no_room",
            reasons=reasons,
        )
    if decision.is_unseen:
        raise PoolUnseenError("no host that may have room can be seen right now")
    message = f"no host has room for another shop; {decision.told}"
    if operation.verb == Verb.PROVISION:
        tenant = operation.tenant
        room.note_full(
            tenant.app_id, tenant.plan_id, scarce=decision.scarce, told=decision.told, refused=1
        )
        raise NoRoomError(message)
    raise RoomAwaitedError(message)


def move_to_provisioning(operation: Operation) -> None:
    """Say that the instance is being started, whatever it was before."""
    if operation.instance.state != InstanceState.PROVISIONING:
        transitions.move(operation.instance, InstanceState.PROVISIONING, reason=operation.verb)


def route(lease: Lease, operation: Operation, placement: Placement, hands: Hands) -> list[EdgeSeat]:
    """Lead the hostname to the place on every ready edge, and give those. Raises EdgesSilentError,
    or RouteRefusedError before anything is recorded.
    """
    with transaction.atomic():
        leases.begin_step(lease, "route")
        change = routes.to_address(
            operation.tenant, address=placement.host.address, port=placement.port
        )
    return hold_swap.spread(change, hands)[0]


def check(operation: Operation, ready: list[EdgeSeat], hands: Hands) -> None:
    """Ask each edge for the shop until it answers 200. Raises ShopSilentError."""
    hostname = routes.hostname_of(operation.tenant)
    path = operation.instance.release.health_path or "/"
    deadline = time.monotonic() + CHECK_SECONDS
    for seat in ready:
        pause = FIRST_PAUSE_SECONDS
        while (status := hands.look(seat, hostname, path)) != 200:
            if time.monotonic() + pause > deadline:
                raise ShopSilentError(f"edge {seat.name} {_told(status)} for {hostname}{path}")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)


def _told(status: int) -> str:
    return f"answered {status} instead of 200" if status else "gave no answer"


@transaction.atomic
def _record(lease: Lease, operation: Operation) -> None:
    operations.succeed(lease)
    transitions.move(operation.instance, InstanceState.RUNNING, reason="answered through the edge")
    if operation.tenant.state != TenantState.LIVE:
        transitions.move(operation.tenant, TenantState.LIVE, reason="the shop answers")
        snapshot_rounds.enrol_one(operation.tenant)
    if operation.verb == Verb.REPAIR:
        missing.say_back(operation.instance)


def _clear(lease: Lease, operation: Operation, placement: Placement, hands: Hands) -> bool:
    """Whether the host has said that nothing of the instance runs there, or was lost: a host that comes
    back stops what is not its own before anything else. Only then may it go elsewhere.
    """
    if placement.host.health == HostHealth.LOST:
        return True
    try:
        hands.driver_for(placement.host).ensure_absent(
            operation.instance.public_id,
            fence=fleet.fence_of(placement, lease),
            # Nobody was led to it yet: what is in its volume is only what its start put there.
            volume=VolumeFate.KEEP if fleet.may_have_data(operation) else VolumeFate.DELETE,
        )
    except RuntimeCoreError:
        return False
    return True
