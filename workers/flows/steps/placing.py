"""Finding a shop its place: on the best host that has room, or booked beside the place that it has.

The second place of an instance is a row of Move: the target's until the record's place has changed, the
source's after it. It is closed only once nothing of the instance is left there.
"""

from typing import NoReturn

from django.db import transaction

from runtime.errors import RuntimeCoreError
from runtime.specs import Fence, VolumeFate
from tenants.core import metrics, transitions
from tenants.errors import NoRoomError, PoolUnseenError, RoomAwaitedError, SlotsTakenError
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement import placements, routes, shortages
from tenants.placement.bookings import Booking
from tenants.placement.models import Decision, Placement
from tenants.shops.models import Instance
from tenants.states import InstanceState, Verb
from tenants.transfers import moves
from tenants.transfers.models import Move
from workers import scheduler
from workers.flows.clients import Clients
from workers.flows.errors import LeftoversError
from workers.pool import mapping, reader
from workers.scheduler import Placed, Unplaced
from workers.scheduler.place import sentences

# Of what is cleared away nothing is in flight any more: what a program does after this, visitors wait for.
CLEAR_GRACE_SECONDS = 1.0
_TAKEN = "every host that had room was taken in the meantime"


def decide(instance: Instance, booking: Booking) -> Placed | Unplaced:
    """Return the hosts that the scheduler would have the instance on, or why there is none."""
    return scheduler.place(mapping.view_of(instance, booking), reader.read())


def say_starting(operation: Operation) -> None:
    """Record that the instance is being started, whatever it was before."""
    if operation.instance.state != InstanceState.PROVISIONING:
        transitions.move(operation.instance, InstanceState.PROVISIONING, reason=operation.verb)


def reserve_first(
    lease: Lease, operation: Operation, decision: Placed, booking: Booking
) -> Placement:
    """Book the first candidate that still has room. Raises SlotsTakenError when none has.

    Raises RouteRefusedError, before anything is started there, when edges could not lead to it.
    """
    reasons = list(decision.reasons)
    shunned = operation.arguments.get("shunned", [])
    with transaction.atomic():
        leases.lock(lease)
        say_starting(operation)
        for host_id in sorted(decision.candidates, key=shunned.__contains__):
            placement = placements.reserve(operation.instance, host_id, booking, reasons=reasons)
            if placement is not None:
                routes.check_accepted(
                    operation.tenant, address=placement.host.address, port=placement.port
                )
                return placement
    metrics.REFUSALS.labels(operation.verb, "taken").inc()
    raise SlotsTakenError(_TAKEN)


def refuse(lease: Lease, operation: Operation, decision: Unplaced) -> NoReturn:
    """Raise what the decision means: to wait for a start slot or for a host, or that the pool is full.

    It is kept for operators, but for a wait for a slot, which is over in a moment.
    """
    metrics.REFUSALS.labels(operation.verb, decision.scarce or decision.why).inc()
    if decision.why == "busy":
        raise SlotsTakenError("other shops are starting; this one starts as soon as a slot is free")
    reasons = list(sentences(decision.refusals, decision.hidden))
    with transaction.atomic():
        leases.lock(lease)
        decided(operation, "unseen" if decision.is_unseen else "no_room", reasons)
    if decision.is_unseen:
        raise PoolUnseenError("no host that may have room can be seen right now")
    message = f"no host has room for another shop; {decision.told}"
    if operation.verb == Verb.PROVISION:
        tenant = operation.tenant
        shortages.note_full(
            tenant.app_id, tenant.plan_id, scarce=decision.scarce, sentence=decision.told, refused=1
        )
        raise NoRoomError(message)
    raise RoomAwaitedError(message)


def decided(operation: Operation, outcome: str, reasons: list[str], *, host: str = "") -> None:
    """Keep why the instance is put where it is, or nowhere."""
    Decision.objects.create(
        instance=operation.instance, host_name=host, outcome=outcome, reasons=reasons
    )


def reserve_beside(
    lease: Lease,
    operation: Operation,
    placement: Placement,
    candidates: tuple[int, ...],
    reasons: list[str],
) -> Move:
    """Book a second place on the first candidate that still has room. Raises NoRoomError.

    Raises RouteRefusedError, before anything is held or loaded, when edges could not lead to it.
    """
    with transaction.atomic():
        leases.lock(lease)
        for host_id in candidates:
            if host_id == placement.host_id:
                continue
            move = moves.reserve(operation, placement, host_id, reasons=reasons)
            if move is not None:
                routes.check_accepted(
                    operation.tenant, address=move.target.address, port=move.target_port
                )
                decided(operation, "placed", reasons, host=move.target.name)
                return move
    metrics.REFUSALS.labels(operation.verb, "taken").inc()
    raise NoRoomError(_TAKEN)


def target_of(move: Move, instance: Instance) -> Placement:
    """Return the place that the instance is to have, as long as the record has none."""
    return Placement(instance=instance, host=move.target, port=move.target_port)


def clear(move: Move, fence_number: int, clients: Clients) -> bool:
    """Leave nothing of the instance at its second place; whether that is certain."""
    is_moved = move.is_switched
    host, epoch = (move.source, move.source_epoch) if is_moved else (move.target, move.target_epoch)
    try:
        clients.driver_for(host).ensure_absent(
            move.instance.public_id,
            fence=Fence(epoch=epoch, number=fence_number),
            volume=VolumeFate.DELETE,
            grace_seconds=CLEAR_GRACE_SECONDS,
        )
    except RuntimeCoreError:
        # A host that was declared lost stops what is not its own before anything else.
        return moves.is_lost_since(host, epoch)
    return True


def clear_overtaken(lease: Lease, operation: Operation, clients: Clients) -> None:
    """What a stronger verb does first: end the move it has overtaken. Raises while its host is silent."""
    move = moves.open_move(operation.instance)
    if move is None:
        return
    if not clear(move, lease.fence, clients):
        host = move.source if move.is_switched else move.target
        raise LeftoversError(f"host {host.name} holds a part of an overtaken move and is silent")
    moves.close(move, hostname=routes.hostname_of(operation.tenant))
