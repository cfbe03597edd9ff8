"""Taking a shop's data back to an earlier state: first the present one is put away, then under a hold
the container ends, the volume becomes what it was, and the container starts again.

Nothing is lost by it: the state before is a snapshot like any other, and where the shop does not start
with the older data it gets the newer back. The phase is kept in the operation's arguments.
"""

from dataclasses import dataclass

from django.db import transaction

from runtime.errors import RuntimeCoreError
from tenants.errors import CancelledError, SnapshotLostError, StateConflictError, TenantsError
from tenants.models import Operation, Placement, Snapshot
from tenants.services import leases, operations, placements, routes, transitions
from tenants.services.leases import Lease
from tenants.services.routes import RouteChange
from tenants.states import InstanceState, MovePhase, SnapshotReason, SnapshotState
from workers import fleet
from workers.flows import hold_swap, volumes
from workers.flows.errors import FlowError, SwapFailedError
from workers.flows.hands import Hands
from workers.flows.hold_swap import Clock
from workers.flows.provision import check

STOP_GRACE_SECONDS = 5.0
_STEPS = {
    MovePhase.PREPARING: "safeguard",
    MovePhase.HOLDING: "hold",
    MovePhase.STOPPING: "restore",
    MovePhase.STARTING: "resume",
    MovePhase.SWITCHED: "check",
}
_UNNOTICED = (MovePhase.PREPARING, MovePhase.HOLDING)


def carry_out(lease: Lease, hands: Hands) -> None:
    """Restore the shop's data. Raises what stood in the way; the caller repeats or gives up."""
    restore = _Restore.of(lease, hands)
    if restore.phase != MovePhase.SWITCHED:
        try:
            restore.go()
        except (RuntimeCoreError, FlowError) as error:
            if restore.phase in _UNNOTICED or restore.phase == MovePhase.SWITCHED:
                raise
            # The shop stands still: back at once rather than another try from here.
            raise SwapFailedError(error.message) from error
    restore.arrive()


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly, with the shop running on the data it had before if that can be had."""
    restore = _Restore.of(lease, hands)
    runs = restore.phase == MovePhase.SWITCHED or restore.go_back()
    with transaction.atomic():
        if code == CancelledError.code:
            operations.cancelled(lease, message=message)
        else:
            operations.fail(lease, code=code, message=message)
        if not runs and restore.operation.instance.state == InstanceState.RUNNING:
            transitions.move(restore.operation.instance, InstanceState.FAILED, reason=message)


@dataclass(slots=True)
class _Restore:
    """One restore on its way; also what hold_swap swaps."""

    lease: Lease
    operation: Operation
    placement: Placement
    hands: Hands
    clock: Clock

    @classmethod
    def of(cls, lease: Lease, hands: Hands) -> "_Restore":
        operation = fleet.operation(lease)
        placement = placements.open_placement(operation.instance)
        if placement is None:
            raise StateConflictError(f"{operation.instance.public_id} is on no host any more")
        return cls(lease, operation, placement, hands, Clock())

    @property
    def phase(self) -> str:
        return str(self.operation.arguments.get("phase", MovePhase.PREPARING))

    def go(self) -> None:
        """As far as a container that runs on the older data, from wherever an earlier try has come to."""
        if self.phase in _UNNOTICED:
            self.reach(MovePhase.PREPARING)
            volumes.chain_of(self._wanted)  # refused before anybody notices
            if "safety" not in self.operation.arguments:
                taken = volumes.take(
                    self.lease,
                    self.operation.tenant,
                    self.placement,
                    self.hands,
                    reason=SnapshotReason.RISKY,
                )
                self._keep(safety=taken.public_id)
        hold_swap.carry_out(
            self.operation, self.placement, self.hands, self, phase=self.phase, clock=self.clock
        )

    def arrive(self) -> None:
        """See the shop answer through the edges, and say so."""
        self.reach(MovePhase.SWITCHED)
        ready, _ = hold_swap.spread(self._route(), self.hands)
        check(self.operation, ready, self.hands)
        with transaction.atomic():
            operations.succeed(self.lease, reason=f"the data is as in {self._wanted.public_id}")
            if self.operation.instance.state == InstanceState.FAILED:
                instance = self.operation.instance
                transitions.move(instance, InstanceState.PROVISIONING, reason="restored")
                transitions.move(instance, InstanceState.RUNNING, reason="answered")

    def go_back(self) -> bool:
        """Have the shop run on the data it had before; whether it does."""
        if self.phase == MovePhase.PREPARING:
            return True
        try:
            if self.phase == MovePhase.STARTING:
                self.stop()
                volumes.load(
                    self.lease, self.operation, self.placement, self.hands, self._named("safety")
                )
            self.start()
            hold_swap.release(self.operation, self.placement, self.hands, self.clock)
        except (RuntimeCoreError, FlowError, TenantsError):
            return False
        return True

    # What hold_swap asks for ---------------------------------------------------------------------

    def reach(self, phase: str) -> None:
        """See hold_swap.Swap."""
        with transaction.atomic():
            leases.begin_step(self.lease, _STEPS[MovePhase(phase)])
            self._keep(phase=str(phase))

    def stop(self) -> None:
        """See hold_swap.Swap. What came while the copy was made is put away too."""
        self.hands.driver_for(self.placement.host).ensure_stopped(
            self.operation.instance.public_id,
            fence=fleet.fence_of(self.placement, self.lease),
            grace_seconds=STOP_GRACE_SECONDS,
        )

    def carry(self) -> None:
        """See hold_swap.Swap: the last of the present state is put away, then the older one loaded."""
        taken = volumes.take(
            self.lease,
            self.operation.tenant,
            self.placement,
            self.hands,
            reason=SnapshotReason.RISKY,
        )
        self._keep(safety=taken.public_id)
        volumes.load(self.lease, self.operation, self.placement, self.hands, self._wanted)

    def start(self) -> None:
        """See hold_swap.Swap."""
        self.hands.driver_for(self.placement.host).ensure_running(
            fleet.spec_of(self.operation, self.placement),
            fence=fleet.fence_of(self.placement, self.lease),
        )

    def switch(self) -> RouteChange:
        """See hold_swap.Swap: the place stays what it was."""
        self.reach(MovePhase.SWITCHED)
        return self._route()

    # Parts ---------------------------------------------------------------------------------------

    @property
    def _wanted(self) -> Snapshot:
        return self._named("snapshot")

    def _named(self, argument: str) -> Snapshot:
        name = self.operation.arguments.get(argument, "")
        found = (
            Snapshot.objects.select_related("tenant")
            .filter(tenant=self.operation.tenant, public_id=name, state=SnapshotState.KEPT)
            .first()
        )
        if found is None:
            raise SnapshotLostError(f"the copy {name} is not kept any more")
        return found

    def _keep(self, **facts: str) -> None:
        self.operation.arguments = self.operation.arguments | facts
        Operation.objects.filter(pk=self.operation.pk).update(arguments=self.operation.arguments)

    def _route(self) -> RouteChange:
        return routes.to_address(
            self.operation.tenant, address=self.placement.host.address, port=self.placement.port
        )
