"""Moves: asked for here, carried out by the move flow, which records its way through these.

A move's row is the second place an instance holds while it is on its way (transfers/models.py): the
target's until the switch, the source's after it. Every write of a flow here is in one transaction
with its lease, so a worker that was overtaken changes nothing.
"""

from collections.abc import Mapping

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.core import metrics
from tenants.errors import OperationOpenError, StateConflictError, TooManyMovesError
from tenants.operations import leases, operations
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement import bookings, placements
from tenants.placement.models import Placement
from tenants.pool.models import Drain, Edge, Host
from tenants.shops.models import Instance
from tenants.states import (
    OPEN_OPERATION_STATES,
    HostState,
    InstanceState,
    MoveEnd,
    TenantState,
    Verb,
)
from tenants.transfers.models import Move

_SLOTS_LOCK = 0x570B
MOVABLE_STATES = (InstanceState.RUNNING, InstanceState.FAILED)


@transaction.atomic
def request(
    instance: Instance,
    *,
    to_host: Host | None,
    reason: str,
    requested_by: Member | None = None,
    drain: Drain | None = None,
) -> Operation:
    """Ask for the instance to be moved, to that host or to wherever the scheduler finds best.

    reason: why, in a few words, kept on the operation (for example "drain" or "rebalance").
    Raises StateConflictError when it cannot be moved as it is, OperationOpenError when something else
    is being done to its tenant, TooManyMovesError when enough is on its way already.
    """
    check_may_begin(instance, to=to_host.name if to_host else "")
    return operations.open_operation(
        instance,
        Verb.MOVE,
        requested_by=requested_by,
        arguments={
            "to": to_host.name if to_host else "",
            "reason": reason[:80],
            "drain": drain.pk if drain else None,
        },
    )


def check_may_begin(instance: Instance, *, to: str) -> None:
    """Refuse a move that cannot be begun now, as `request` does. to: a host's name, "" for any.

    Moves are counted one after another until the caller's transaction ends: two that count at one moment
    must not both find the last slot free.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [_SLOTS_LOCK])
    placement = placements.open_placement(instance)
    if placement is None or instance.state not in MOVABLE_STATES:
        raise StateConflictError(
            f"{instance.public_id} is {instance.state}; only a shop that runs on a host can be moved"
        )
    if instance.tenant.state != TenantState.LIVE:
        raise StateConflictError(f"{instance.tenant.slug} is {instance.tenant.state}, not live")
    if to:
        _check_target(to, placement)
    if free_slots() <= 0:
        raise TooManyMovesError(
            f"{settings.STOA_MOVES_AT_ONCE} moves are running, which is the limit; try again later"
        )
    if open_move(instance) is not None:
        raise OperationOpenError(
            "an earlier move is still being cleared away; try again in a moment"
        )


def free_slots() -> int:
    """Return how many more moves may be begun now; one look at the index of open operations."""
    opened = Operation.objects.filter(verb=Verb.MOVE, state__in=OPEN_OPERATION_STATES)
    return int(settings.STOA_MOVES_AT_ONCE) - opened.count()


def open_move(instance: Instance) -> Move | None:
    """Return the instance's move that still holds a second place, with both hosts."""
    return (
        Move.objects.filter(instance=instance, ended_at__isnull=True)
        .select_related("source", "target", "placement")
        .first()
    )


def reserve(
    operation: Operation, placement: Placement, host_id: int, *, reasons: list[str]
) -> Move | None:
    """Book the instance's second place on the host; None when that has no room by now.

    To be called in a transaction in which the operation is ours (leases.lock). What is booked is what
    its place now has.
    """
    booking = placements.booking_of(placement)
    seat = bookings.book(host_id, booking)
    if seat is None:
        return None
    transaction.on_commit(metrics.PLACEMENTS.labels("move").inc)
    try:
        with transaction.atomic():
            return Move.objects.create(
                operation=operation,
                instance=operation.instance,
                drain_id=_drain_of(operation),
                placement=placement,
                source=placement.host,
                source_epoch=placement.host.epoch,
                target=seat.host,
                target_epoch=seat.host.epoch,
                target_port=seat.port,
                cpu_millis=booking.cpu_millis,
                memory_bytes=booking.memory_bytes,
                disk_bytes=booking.disk_bytes,
                shape=list(booking.shape),
                reasons=reasons,
            )
    except IntegrityError as error:
        raise OperationOpenError("the instance is being moved already") from error


def note(move: Move, timings_ms: Mapping[str, float], *, held_ms: float | None = None) -> None:
    """Keep how long things took; figures only, so without a look at the lease."""
    move.timings_ms = {**move.timings_ms, **{k: round(v, 1) for k, v in timings_ms.items()}}
    changes: dict[str, object] = {"timings_ms": move.timings_ms}
    if held_ms is not None:
        changes["held_ms"] = max(round(held_ms), move.held_ms or 0)
    _set(move, **changes)


@transaction.atomic
def change_port(move: Move) -> bool:
    """Give the target another port; no route has led there yet. False where its host has none."""
    port = placements.exchange_port(
        move.target_id, move.target_port, move.instance, hostname="", waiting_for=[]
    )
    if port is None:
        return False
    _set(move, target_port=port)
    return True


@transaction.atomic
def change_place(lease: Lease, move: Move) -> None:
    """Make the target the place of the record; what is at the source stays booked until `close`."""
    leases.lock(lease)
    _set(move, is_switched=True)
    closed = Placement.objects.filter(pk=move.placement_id, until__isnull=True).update(until=Now())
    if closed != 1:
        raise StateConflictError(f"{move.instance.public_id} is no longer at its source")
    Placement.objects.create(
        instance=move.instance,
        host=move.target,
        port=move.target_port,
        cpu_millis=move.cpu_millis,
        memory_bytes=move.memory_bytes,
        disk_bytes=move.disk_bytes,
        shape=move.shape,
        reasons=move.reasons,
    )


@transaction.atomic
def close(move: Move, *, hostname: str) -> None:
    """Give the second place back: nothing of the instance is there any more. Calm when repeated."""
    end = MoveEnd.DONE if move.is_switched else MoveEnd.UNDONE
    ended = Move.objects.filter(
        pk=move.pk, ended_at__isnull=True, is_switched=move.is_switched
    ).update(ended_at=Now(), end=end)
    if not ended:
        return
    if end == MoveEnd.DONE:
        # Read again: it may have been booked anew before the switch closed it.
        left = Placement.objects.get(pk=move.placement_id)
        place, given = (left.host_id, left.port), placements.booking_of(left)
        # Those that hold the newest route already are soon no longer waited for.
        waiting_for = list(Edge.objects.values_list("name", flat=True))
    else:
        place, given = (move.target_id, move.target_port), placements.booking_of(move)
        waiting_for = []  # no route has ever led there
    placements.give_back(*place, given, hostname=hostname, waiting_for=waiting_for)


def is_lost_since(host: Host, epoch: int) -> bool:
    """Return whether the host was declared lost after it had that epoch: it runs nothing that counts."""
    return Host.objects.filter(pk=host.pk, epoch__gt=epoch).exists()


def _check_target(to: str, placement: Placement) -> None:
    if to == placement.host.name:
        raise StateConflictError(f"it is already on {to}", field="to")
    state = Host.objects.filter(name=to).values_list("state", flat=True).first()
    if state != HostState.OPEN:
        raise StateConflictError(f"host {to} is {state or 'not known'}, not open", field="to")


def _drain_of(operation: Operation) -> int | None:
    drain = operation.arguments.get("drain")
    known = isinstance(drain, int) and Drain.objects.filter(pk=drain).exists()
    return drain if known else None


def _set(move: Move, **changes: object) -> None:
    Move.objects.filter(pk=move.pk, ended_at__isnull=True).update(**changes)
    for name, value in changes.items():
        setattr(move, name, value)
