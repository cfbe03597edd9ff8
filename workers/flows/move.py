"""Taking a running shop to another host: copy while it runs, then swap under a short hold.

Where a release has no volume the target is started first and nobody waits at all. The record, and
with it the truth about where the newest data is, changes at one moment (transfers/moves.switch):
whatever fails before it brings the shop back to its source, whatever fails after it is tried at the
target. The source's volume is deleted only once the shop has answered from its target through every
edge.
"""

import time
from dataclasses import dataclass

from django.db import transaction

from tenants.core import metrics
from tenants.errors import (
    FrozenError,
    NoRoomError,
    OperationOpenError,
    PoolUnseenError,
    StateConflictError,
)
from tenants.operations import leases, time_limits
from tenants.operations.leases import Lease
from tenants.placement import placements, routes
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.states import Verb
from tenants.transfers import moves
from tenants.transfers.models import Move
from workers.flows.clients import Clients
from workers.flows.errors import LeftoversError
from workers.flows.running.flow import Work, table
from workers.flows.steps import hold_swap, placing, ports, routing, volumes
from workers.flows.steps.hold_swap import Swap
from workers.pool import mapping
from workers.scheduler import Placed, Unplaced
from workers.scheduler.place import sentences

# A copy that took longer than this is followed by another one, so that the one under the hold is short.
QUICK_COPY_SECONDS = 2.0
# Nothing is in flight any more: what a program does after this, visitors wait for.
STOP_GRACE_SECONDS = 1.0
LAST_ANSWERS_SECONDS = 10.0


@dataclass(slots=True)
class Journey(Swap):
    """One instance on its way.

    is_clear: its target said that nothing of it is left there.
    """

    found: Move | None = None
    is_clear: bool = False

    @property
    def move(self) -> Move:
        """The second place it holds. Raises StateConflictError where it has none any more."""
        if self.found is None:
            raise StateConflictError(f"{self.operation.instance.public_id} is not on its way")
        return self.found

    @property
    def source(self) -> Placement:
        """Where it was when the move began."""
        return self.move.placement

    @property
    def target(self) -> Placement:
        """The place it is to have, as long as the record has none."""
        return placing.target_of(self.move, self.operation.instance)

    @property
    def has_volume(self) -> bool:
        """Whether only one container may run, since it has the data open."""
        return self.operation.instance.release.has_volume


def _open(lease: Lease, clients: Clients) -> Journey:
    operation = mapping.operation(lease)
    journey = Journey(lease, clients, operation)
    found = moves.open_move(operation.instance)
    if found is not None and found.operation_id == operation.pk:
        journey.found = found
    journey.stack.callback(_note, journey)
    return journey


def _note(journey: Journey) -> None:
    """Keep how long things took, however the attempt ended."""
    clock = journey.clock
    if journey.found is not None and clock.timings_ms:
        moves.note(journey.found, clock.timings_ms, held_ms=clock.held_ms)


# Forward -------------------------------------------------------------------------------------------


def _place(journey: Journey) -> None:
    operation = journey.operation
    if journey.found is not None:
        return
    if moves.open_move(operation.instance) is not None:
        raise OperationOpenError("what an earlier move left behind is still being cleared away")
    placement = placements.open_placement(operation.instance)
    if placement is None:
        raise StateConflictError(f"{operation.instance.public_id} is on no host any more")
    if getattr(operation, "is_frozen", False):
        raise FrozenError("an operator has stopped new placements for a while")
    candidates, reasons = _candidates(journey, placement)
    journey.found = placing.reserve_beside(journey.lease, operation, placement, candidates, reasons)


def _candidates(journey: Journey, placement: Placement) -> tuple[tuple[int, ...], list[str]]:
    operation = journey.operation
    to = operation.arguments.get("to", "")
    if to:
        asked = Host.objects.filter(name=to).exclude(pk=placement.host_id)
        return tuple(asked.values_list("pk", flat=True)), [f"{to}: asked for"]
    decision = placing.decide(operation.instance, placements.booking_of(placement))
    refused: tuple[str, ...] = ()
    reason = "other hosts"
    if isinstance(decision, Unplaced):
        refused = sentences(decision.refusals, decision.hidden)
        reason = decision.scarce or decision.why
    if isinstance(decision, Placed):
        elsewhere = tuple(host for host in decision.candidates if host != placement.host_id)
        if elsewhere:
            return elsewhere, list(decision.reasons)
    metrics.REFUSALS.labels(operation.verb, reason).inc()
    is_unseen = isinstance(decision, Unplaced) and decision.is_unseen
    with transaction.atomic():
        leases.lock(journey.lease)
        placing.decided(operation, "unseen" if is_unseen else "no_room", [*refused])
    if is_unseen:
        raise PoolUnseenError("no other host can be seen right now")
    raise NoRoomError("no other host has room for it")


def _copy(journey: Journey) -> None:
    """All that can be done while the shop still runs: the image, and the data as it is now."""
    release, clock = journey.operation.instance.release, journey.clock
    hold_swap.release_forgotten(journey, journey.source)
    if journey.has_volume:
        volumes.check_agents(journey.clients, journey.move.source, journey.move.target)
    with clock.part("image"):
        target = journey.driver(journey.move.target)
        target.ensure_image(release.image_digest, release.image_source)
    if not journey.has_volume:
        return
    for _ in range(time_limits.MOST_COPIES):
        began = time.monotonic()
        leases.check(journey.lease)
        with clock.part("copy"):
            _copy_once(journey)
        if time.monotonic() - began <= QUICK_COPY_SECONDS:
            return


def _copy_once(journey: Journey) -> None:
    """The newest state of the volume, from source to target: only what the target lacks is sent."""
    operation = journey.operation
    with journey.clock.part("save"):
        volumes.take(
            journey.lease, operation.tenant, journey.source, journey.clients, reason="move"
        )
    with journey.clock.part("load"):
        volumes.bring(journey.lease, operation, journey.target, journey.clients)


def _hold(journey: Journey) -> None:
    if journey.has_volume:
        hold_swap.hold(journey, journey.source)


def _stop(journey: Journey) -> None:
    if journey.has_volume:
        hold_swap.stop(journey, journey.source, grace_seconds=STOP_GRACE_SECONDS)


def _carry(journey: Journey) -> None:
    """Nobody writes to the data now."""
    if journey.has_volume:
        _copy_once(journey)


def _start(journey: Journey) -> None:
    if journey.has_volume:
        hold_swap.keep_held(journey, journey.source)
    target, move = journey.target, journey.move

    def change_port() -> int | None:
        with transaction.atomic():
            leases.lock(journey.lease)
            is_changed = moves.change_port(move)
        return move.target_port if is_changed else None

    with journey.clock.part("start"):
        ports.start_with(
            journey.driver(move.target),
            mapping.spec_of(journey.operation, target),
            fence=mapping.fence_of(target, journey.lease),
            change_port=change_port,
            host=move.target.name,
        )


def _switch(journey: Journey) -> None:
    """The one moment at which the instance changes its place: placement and route together."""
    if not journey.move.is_switched:
        moves.change_place(journey.lease, journey.move)
    journey.change = routing.change_to(journey, journey.target)


def _let_in(journey: Journey) -> None:
    hold_swap.let_in(journey)
    _note(journey)  # how long requests were held, while its row is open


def _clear(journey: Journey) -> None:
    """Clear the old place away; what the source still answers since before the switch is let end."""
    source = journey.source
    if not journey.has_volume:
        value = routes.value_to(
            journey.operation.tenant, address=source.host.address, port=source.port
        )
        hold_swap.await_quiet(value, journey.clients, seconds=LAST_ANSWERS_SECONDS)
    if not placing.clear(journey.move, journey.lease.fence, journey.clients):
        raise LeftoversError(f"{source.host.name} has not yet said that all is cleared")


@transaction.atomic
def _succeed(journey: Journey) -> None:
    move = journey.move
    journey.succeed(f"moved to {move.target.name}")
    moves.close(move, hostname=routes.hostname_of(journey.operation.tenant))
    hold_swap.say_running(journey, "moved")


# Back: to the source, as long as the record has not switched ------------------------------------------


def _end_target(journey: Journey) -> None:
    """First of all, where the target may have been started: never two of one. So the source waits for it."""
    _clear_target(journey)
    if journey.has_volume and journey.found is not None and not journey.is_clear:
        host = journey.move.target.name
        raise LeftoversError(f"{host} has not confirmed yet that the shop does not run there")


def _clear_target(journey: Journey) -> None:
    """A host that is silent is cleared later (workers/reconcilers/drains.py)."""
    if journey.found is not None and not journey.is_clear:
        journey.is_clear = placing.clear(journey.found, journey.lease.fence, journey.clients)


def _run_at_source(journey: Journey) -> None:
    if journey.has_volume and journey.found is not None:
        hold_swap.run_again(journey, journey.source)


@transaction.atomic
def _fail(journey: Journey) -> None:
    """The shop is where its newest data is, and runs there if that could be had."""
    operation, code, message = journey.operation, journey.code, journey.message
    if journey.found is None:
        journey.end_badly(code, message)
        return
    if operation.phase == "clear":
        # It runs at its target; what is left at the source goes when that host can be reached.
        journey.succeed(f"moved; {journey.move.source.name} is yet to be cleared")
        hold_swap.say_running(journey, "moved")
        return
    runs = not (journey.is_down or journey.move.is_switched)
    hold_swap.end_badly(journey, code, message, runs=runs)
    if journey.is_clear:
        moves.close(journey.move, hostname=routes.hostname_of(operation.tenant))


FLOW = table(
    Verb.MOVE,
    {
        "place": Work(_place, undo=_clear_target),
        "copy": Work(_copy),
        "hold": Work(_hold, undo=_run_at_source),
        "stop": Work(_stop),
        "carry": Work(_carry),
        "start": Work(_start, undo=_end_target),
        "open": Work(_let_in, record=_switch),
        "clear": Work(_clear),
    },
    open=_open,
    succeed=_succeed,
    fail=_fail,
)
