"""Taking a running shop to another host: copy while it runs, then swap under a short hold.

Where a release has no volume the target is started first and nobody waits at all. The record, and
with it the truth about where the newest data is, changes at one moment (services/moves.switch):
whatever fails before it brings the shop back to its source, whatever fails after it is tried at the
target. The source's volume is deleted only once the shop has answered from its target through every
edge.
"""

import time
from dataclasses import dataclass, field

from django.db import transaction

from runtime.driver import Driver, Fence, VolumeFate
from runtime.errors import DataMissingError, RuntimeCoreError
from tenants import limits, metrics
from tenants.errors import (
    CancelledError,
    FrozenError,
    LeaseLostError,
    NoRoomError,
    OperationOpenError,
    PoolUnseenError,
    StateConflictError,
    TenantsError,
)
from tenants.models import Decision, Host, Instance, Move, Operation, Placement
from tenants.services import leases, missing, moves, operations, placements, routes, transitions
from tenants.services.leases import Lease
from tenants.services.routes import RouteChange
from tenants.states import MOVED_PHASES, RETURNABLE_PHASES, InstanceState, MovePhase
from workers import fleet, pool_snapshot, scheduler
from workers.flows import hold_swap, ports, volumes
from workers.flows.errors import FlowError, LeftoversError, SwapFailedError
from workers.flows.hands import Hands
from workers.flows.hold_swap import Clock
from workers.flows.routing import check
from workers.scheduler import Placed, Unplaced
from workers.scheduler.place import sentences

# A copy that took longer than this is followed by another one, so that the one under the hold is short.
QUICK_COPY_SECONDS = 2.0
# Nothing is in flight any more: what a program does after this, visitors wait for.
STOP_GRACE_SECONDS = 1.0
LAST_ANSWERS_SECONDS = 10.0

_STEPS = {
    MovePhase.PREPARING: "copy",
    MovePhase.HOLDING: "hold",
    MovePhase.STOPPING: "stop",
    MovePhase.STARTING: "start",
    MovePhase.SWITCHED: "open",
    MovePhase.ANSWERED: "clear",
}


def carry_out(lease: Lease, hands: Hands) -> None:
    """Move the shop. Raises what stood in the way; the caller repeats or gives up."""
    operation = fleet.operation(lease)
    journey = _Journey(lease, operation, _place(lease, operation), hands)
    if journey.move.phase not in MOVED_PHASES:
        try:
            journey.go()
        except LeaseLostError:
            raise
        except (RuntimeCoreError, FlowError, TenantsError) as error:
            if journey.move.phase in RETURNABLE_PHASES or journey.move.phase in MOVED_PHASES:
                raise
            # The shop stands still: back at once rather than another try from here.
            raise SwapFailedError(f"{journey.move.target.name}: {error.message}") from error
        finally:
            moves.note(journey.move, journey.clock.timings_ms, held_ms=journey.clock.held_ms)
    journey.arrive()


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly, with the shop where its newest data is and running if that can be had."""
    operation = fleet.operation(lease)
    move = moves.open_move(operation.instance)
    if move is None or move.operation_id != operation.pk:
        _end(lease, code=code, message=message)
        return
    journey = _Journey(lease, operation, move, hands)
    if move.phase == MovePhase.ANSWERED:
        # It runs at its target; what is left at the source goes when that host can be reached.
        with transaction.atomic():
            operations.succeed(lease, reason=f"moved; {move.source.name} is yet to be cleared")
            journey.say_running()
        return
    is_clear = runs = False
    if move.phase != MovePhase.SWITCHED:
        is_clear = clear(move, lease.fence, hands)  # first: never two of one
        runs = journey.go_back()
    if journey.lacks_data and code != CancelledError.code:
        code = DataMissingError.code
    with transaction.atomic():
        _end(lease, code=code, message=message)
        if is_clear:
            moves.close(move, hostname=routes.hostname_of(operation.tenant))
        if code == DataMissingError.code or journey.lacks_data:
            missing.say(operation.instance, reason=message)
        elif not runs:
            journey.say_failed(message)


def clear(move: Move, fence_number: int, hands: Hands) -> bool:
    """Leave nothing of the instance at its second place; whether that is certain."""
    is_moved = move.phase in MOVED_PHASES
    host, epoch = (move.source, move.source_epoch) if is_moved else (move.target, move.target_epoch)
    try:
        hands.driver_for(host).ensure_absent(
            move.instance.public_id,
            fence=Fence(epoch=epoch, number=fence_number),
            volume=VolumeFate.DELETE,
            grace_seconds=STOP_GRACE_SECONDS,
        )
    except RuntimeCoreError:
        # A host that was declared lost stops what is not its own before anything else.
        return moves.is_lost_since(host, epoch)
    return True


def clear_second_place(lease: Lease, operation: Operation, hands: Hands) -> None:
    """What a stronger verb does first: end the move it has overtaken. Raises while its host is silent."""
    move = moves.open_move(operation.instance)
    if move is None:
        return
    if not clear(move, lease.fence, hands):
        host = move.source if move.phase in MOVED_PHASES else move.target
        raise LeftoversError(f"host {host.name} holds a part of an overtaken move and is silent")
    moves.close(move, hostname=routes.hostname_of(operation.tenant))


def _place(lease: Lease, operation: Operation) -> Move:
    move = moves.open_move(operation.instance)
    if move is not None and move.operation_id != operation.pk:
        raise OperationOpenError("what an earlier move left behind is still being cleared away")
    if move is not None:
        return move
    placement = placements.open_placement(operation.instance)
    if placement is None:
        raise StateConflictError(f"{operation.instance.public_id} is on no host any more")
    if getattr(operation, "is_frozen", False):
        leases.begin_step(lease, "place")
        raise FrozenError("an operator has stopped new placements for a while")
    candidates, reasons = _candidates(lease, operation, placement)
    with transaction.atomic():
        leases.begin_step(lease, "place")
        for host_id in candidates:
            move = moves.reserve(operation, placement, host_id, reasons=reasons)
            if move is not None:
                # Before the shop is held: an edge that cannot lead there would leave it away.
                routes.check_accepted(
                    operation.tenant, address=move.target.address, port=move.target_port
                )
                _decided(operation.instance, move.target.name, "placed", reasons)
                return move
    metrics.REFUSALS.labels(operation.verb, "taken").inc()
    raise NoRoomError("every host that had room was taken in the meantime")


def _candidates(
    lease: Lease, operation: Operation, placement: Placement
) -> tuple[tuple[int, ...], list[str]]:
    to = operation.arguments.get("to", "")
    if to:
        asked = Host.objects.filter(name=to).exclude(pk=placement.host_id)
        return tuple(asked.values_list("pk", flat=True)), [f"{to}: asked for"]
    view = fleet.view_of(operation.instance, placements.booking_of(placement))
    decision = scheduler.place(view, pool_snapshot.read())
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
        leases.begin_step(lease, "place")
        _decided(operation.instance, "", "unseen" if is_unseen else "no_room", [*refused])
    if is_unseen:
        raise PoolUnseenError("no other host can be seen right now")
    raise NoRoomError("no other host has room for it")


def _decided(instance: Instance, host_name: str, outcome: str, reasons: list[str]) -> None:
    Decision.objects.create(
        instance=instance, host_name=host_name, outcome=outcome, reasons=reasons
    )


def _end(lease: Lease, *, code: str, message: str) -> None:
    if code == CancelledError.code:
        operations.cancelled(lease, message=message)
    else:
        operations.fail(lease, code=code, message=message)


@dataclass(slots=True)
class _Journey:
    """One instance on its way; also what hold_swap swaps.

    lacks_data: its source was to run again and has not its data.
    """

    lease: Lease
    operation: Operation
    move: Move
    hands: Hands
    clock: Clock = field(default_factory=Clock)
    lacks_data: bool = False

    def go(self) -> None:
        """As far as the switch, from wherever an earlier try has come to."""
        if self.move.phase in RETURNABLE_PHASES:
            self.reach(MovePhase.PREPARING)
            self._prepare()
        if self._has_volume:
            hold_swap.carry_out(
                self.operation,
                self.move.placement,
                self.hands,
                self,
                phase=self.move.phase,
                clock=self.clock,
            )
        else:
            self.reach(MovePhase.STARTING)
            with self.clock.part("start"):
                self.start()
            hold_swap.spread(self.switch(), self.hands)

    def arrive(self) -> None:
        """Check the shop at its new place through the edges, clear the old one away, and say so."""
        target = self._target
        if self.move.phase == MovePhase.SWITCHED:
            self.reach(MovePhase.SWITCHED)
            ready, _ = hold_swap.spread(
                routes.to_address(
                    self.operation.tenant, address=target.host.address, port=target.port
                ),
                self.hands,
            )
            check(self.operation, ready, self.hands)
        self.reach(MovePhase.ANSWERED)
        self._await_last_answers()
        if not clear(self.move, self.lease.fence, self.hands):
            raise LeftoversError(f"{self.move.source.name} has not yet said that all is cleared")
        with transaction.atomic():
            operations.succeed(self.lease, reason=f"moved to {self.move.target.name}")
            moves.close(self.move, hostname=routes.hostname_of(self.operation.tenant))
            self.say_running()

    def go_back(self) -> bool:
        """Have the shop run and be routed at its source again; whether it does."""
        source = self.move.placement
        if self.move.phase == MovePhase.PREPARING or not self._has_volume:
            return True
        try:
            self._driver(source.host).ensure_running(
                fleet.spec_of(self.operation, source),
                fence=fleet.fence_of(source, self.lease),
            )
            hold_swap.release(self.operation, source, self.hands, self.clock)
        except (RuntimeCoreError, FlowError) as error:
            self.lacks_data = isinstance(error, DataMissingError)
            return False
        return True

    # What hold_swap asks for ---------------------------------------------------------------------

    def reach(self, phase: str) -> None:
        """See hold_swap.Swap."""
        moves.reach(self.lease, self.move, phase, step=_STEPS[MovePhase(phase)])

    def stop(self) -> None:
        """See hold_swap.Swap."""
        source = self.move.placement
        self._driver(source.host).ensure_stopped(
            self.operation.instance.public_id,
            fence=fleet.fence_of(source, self.lease),
            grace_seconds=STOP_GRACE_SECONDS,
        )

    def carry(self) -> None:
        """See hold_swap.Swap."""
        self._copy()

    def start(self) -> None:
        """See hold_swap.Swap."""
        ports.start_with(
            self._driver(self.move.target),
            fleet.spec_of(self.operation, self._target),
            fence=fleet.fence_of(self._target, self.lease),
            change_port=self._change_port,
            host=self.move.target.name,
        )

    def switch(self) -> RouteChange:
        """See hold_swap.Swap."""
        return moves.switch(self.lease, self.move, self.operation)

    # Parts ---------------------------------------------------------------------------------------

    @property
    def _has_volume(self) -> bool:
        return self.operation.instance.release.has_volume

    @property
    def _target(self) -> Placement:
        """The place it is to have, as long as the record has none."""
        return Placement(
            instance=self.operation.instance, host=self.move.target, port=self.move.target_port
        )

    def _change_port(self) -> int | None:
        with transaction.atomic():
            leases.begin_step(self.lease, _STEPS[MovePhase(self.move.phase)])
            is_changed = moves.change_port(self.move)
        return self.move.target_port if is_changed else None

    def _driver(self, host: Host) -> Driver:
        return self.hands.driver_for(host)

    def _prepare(self) -> None:
        """All that can be done while the shop still runs: the image, and the data as it is now."""
        release = self.operation.instance.release
        if self._has_volume:
            volumes.check_agents(self.hands, self.move.source, self.move.target)
        with self.clock.part("image"):
            self._driver(self.move.target).ensure_image(release.image_digest, release.image_source)
        if not self._has_volume:
            return
        for _ in range(limits.MOST_COPIES):
            began = time.monotonic()
            leases.check(self.lease)
            with self.clock.part("copy"):
                self._copy()
            if time.monotonic() - began <= QUICK_COPY_SECONDS:
                return

    def _copy(self) -> None:
        """The newest state of the volume, from source to target: only what the target lacks is sent."""
        with self.clock.part("save"):
            volumes.take(
                self.lease,
                self.operation.tenant,
                self.move.placement,
                self.hands,
                reason="move",
            )
        with self.clock.part("load"):
            volumes.bring(self.lease, self.operation, self._target, self.hands)

    def _await_last_answers(self) -> None:
        """Where the source still answers requests it was given before the switch, let it."""
        if self._has_volume:
            return
        source = self.move.placement
        value = routes.value_to(
            self.operation.tenant, address=source.host.address, port=source.port
        )
        hold_swap.await_quiet(value, self.hands, seconds=LAST_ANSWERS_SECONDS)

    def say_running(self) -> None:
        """Record that the instance runs, where it was not said already."""
        instance = self.operation.instance
        if instance.state == InstanceState.FAILED:
            transitions.move(instance, InstanceState.PROVISIONING, reason="moved")
            transitions.move(instance, InstanceState.RUNNING, reason="answered through the edge")

    def say_failed(self, message: str) -> None:
        """Record that the instance does not run as it should; the next repair takes it from there."""
        if self.operation.instance.state == InstanceState.RUNNING:
            transitions.move(self.operation.instance, InstanceState.FAILED, reason=message)
