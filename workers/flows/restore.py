"""Taking a shop's data back to an earlier state: first the present one is copied, then under a hold
the container ends, the older data is loaded, and the container starts again.

The newer data is never lost: the copy made after the stop (`safety`) is the way back, and it is not
replaced once a load has begun. Where the shop does not start with the older data, the newer one is
loaded again. How far it has come is kept in the operation's arguments, each write guarded by the lease:

phase      as in hold_swap; written before its work begins.
safety     the copy of the newer data.
data       what the volume holds: absent while it is untouched, "unsure" while a load is under way,
           then "older" or "newer".
returning  the code and message of what went wrong; from then on the flow only goes back.

The record tells the truth about the data at every end: the operation succeeds with the older data,
fails with the newer, or fails with a code that says which data the shop has (errors.LEFT_OLDER,
LEFT_UNSURE).
"""

from dataclasses import dataclass

from django.db import transaction

from runtime.errors import (
    ArchiveDamagedError,
    DataMissingError,
    HostUnreachableError,
    OutcomeUnknownError,
    RuntimeCoreError,
    TransferFailedError,
)
from tenants.errors import (
    DATABASE_AWAY,
    CancelledError,
    LeaseLostError,
    SnapshotLostError,
    StateConflictError,
    TenantsError,
)
from tenants.models import Operation, Placement, Snapshot
from tenants.services import (
    leases,
    missing,
    operations,
    placements,
    routes,
    snapshots,
    transitions,
)
from tenants.services.leases import Lease
from tenants.services.routes import RouteChange
from tenants.states import HostHealth, InstanceState, MovePhase, SnapshotReason
from workers import fleet
from workers.flows import hold_swap, volumes
from workers.flows.errors import (
    LEFT_OLDER,
    LEFT_UNSURE,
    FlowError,
    HostAwaitedError,
    SwapFailedError,
)
from workers.flows.hands import Hands
from workers.flows.hold_swap import Clock
from workers.flows.routing import check

STOP_GRACE_SECONDS = 5.0
_STEPS = {
    MovePhase.PREPARING: "safeguard",
    MovePhase.HOLDING: "hold",
    MovePhase.STOPPING: "stop",
    MovePhase.STARTING: "start",
    MovePhase.SWITCHED: "check",
}
_UNNOTICED = (MovePhase.PREPARING, MovePhase.HOLDING)
_UNSURE, _OLDER, _NEWER = "unsure", "older", "newer"
# What may be true although the host did not say so: it is asked again until it does.
_SILENT = (HostUnreachableError, OutcomeUnknownError)


def carry_out(lease: Lease, hands: Hands) -> None:
    """Restore the shop's data. Raises what stood in the way; the caller repeats or gives up."""
    restore = _Restore.of(lease, hands)
    if restore.is_returning:
        restore.go_back()
        return
    if restore.phase != MovePhase.SWITCHED:
        try:
            restore.go()
        except (LeaseLostError, CancelledError, *DATABASE_AWAY):
            raise
        except Exception as error:
            if restore.phase in _UNNOTICED or restore.phase == MovePhase.SWITCHED:
                raise
            # The shop stands still: back at once rather than another try from here.
            raise SwapFailedError(operations.failure_of(error)[1]) from error
    restore.arrive()


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly, with the newer data back if that can be had.

    Raises HostAwaitedError while the host does not say which data the shop has.
    """
    operation = fleet.operation(lease)
    if placements.open_placement(operation.instance) is None:
        operations.end_badly(lease, code=code, message=message)
        return
    restore = _Restore.of(lease, hands)
    if restore.phase == MovePhase.PREPARING:
        restore.end(code, message, runs=True)
    elif restore.phase == MovePhase.SWITCHED:
        # Requests may be held still: whoever was to let them go may have been killed.
        restore.stay(message, runs=not restore.is_host_lost and restore.run_again())
    else:
        restore.begin_return(code, message)
        restore.go_back()


@dataclass(slots=True)
class _Restore:
    """One restore on its way; also what hold_swap swaps.

    lacks_data: the shop was to run again and has not its data.
    """

    lease: Lease
    operation: Operation
    placement: Placement
    hands: Hands
    clock: Clock
    lacks_data: bool = False

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

    @property
    def is_returning(self) -> bool:
        return "returning" in self.operation.arguments

    @property
    def data(self) -> str:
        return str(self.operation.arguments.get("data", ""))

    @property
    def is_host_lost(self) -> bool:
        return self.placement.host.health == HostHealth.LOST

    # Forward -------------------------------------------------------------------------------------

    def go(self) -> None:
        """As far as a container that runs on the older data, from wherever an earlier try has come to."""
        if self.phase in _UNNOTICED:
            self.reach(MovePhase.PREPARING)
            volumes.check_agents(self.hands, self.placement.host)
            # Read as a whole now: what is damaged is refused before anybody notices anything.
            volumes.read_again(self._wanted)
            if "safety" not in self.operation.arguments:
                self._secure()
        hold_swap.carry_out(
            self.operation, self.placement, self.hands, self, phase=self.phase, clock=self.clock
        )

    def arrive(self) -> None:
        """See the shop answer through the edges, and say so."""
        if self.is_host_lost:
            raise SwapFailedError(f"host {self.placement.host.name} was lost in the meantime")
        self.reach(MovePhase.SWITCHED)
        ready, _ = hold_swap.spread(self._route(), self.hands)
        check(self.operation, ready, self.hands)
        self._succeed()

    # Back ----------------------------------------------------------------------------------------

    def begin_return(self, code: str, message: str) -> None:
        """From now on the flow only goes back, whoever works on it."""
        if not self.is_returning:
            self._keep(returning=[code, message])

    def go_back(self) -> None:
        """End the operation with the shop on the newer data; with the older one where that is all
        that can be had. Raises HostAwaitedError while neither can be known.
        """
        leases.check_ours(self.lease)
        code, message = self.operation.arguments["returning"]
        if self.is_host_lost:
            # It comes back elsewhere from its newest copy, which is `safety`.
            self._end_with_newer(code, message, runs=False)
            return
        data = self._bring_back() if self.data in (_UNSURE, _OLDER) else _NEWER
        runs = self.run_again()
        if data == _NEWER:
            self._end_with_newer(code, message, runs=runs)
        elif data == _OLDER and runs:
            # What was asked for after all: it runs on the older data.
            self._succeed()
        elif data == _OLDER:
            self.stay(message, runs=False)
        else:
            self.end(LEFT_UNSURE, f"{message}; {self._both()}", runs=runs)

    def stay(self, message: str, *, runs: bool) -> None:
        """End the operation badly with the shop on the older data, and say so."""
        with transaction.atomic():
            self._is_newest_again()
            self.end(
                LEFT_OLDER,
                f"{message}; the data is as in {self._name('snapshot')}, and as it was before in"
                f" {self._name('safety')}",
                runs=runs,
            )

    def _bring_back(self) -> str:
        """Load the newer data again; which data the volume has now, _UNSURE when nobody can tell.

        A load changes all or nothing. So where the newer data cannot be loaded, the older is asked
        for: a host that has it says so without fetching anything, and one that tries to fetch it and
        cannot has never had it.
        """
        before = self.data
        try:
            self.stop()
            self._load("safety")
        except _SILENT as error:
            raise self._awaited(error) from error
        except LeaseLostError:
            raise
        except (RuntimeCoreError, TenantsError):
            if before == _OLDER:
                return _OLDER
        else:
            return self._now(_NEWER)
        try:
            volumes.chain_of(self._named("snapshot"))
        except SnapshotLostError:
            return _UNSURE
        try:
            self._load("snapshot")
        except _SILENT as error:
            raise self._awaited(error) from error
        except (TransferFailedError, ArchiveDamagedError, SnapshotLostError):
            return self._now(_NEWER)
        except RuntimeCoreError:
            return _UNSURE
        return self._now(_OLDER)

    def run_again(self) -> bool:
        """Start the shop on the data it has and let requests go; whether it runs."""
        try:
            self.start()
            hold_swap.release(self.operation, self.placement, self.hands, self.clock)
        except (RuntimeCoreError, FlowError) as error:
            self.lacks_data = isinstance(error, DataMissingError)
            return False
        return True

    # What hold_swap asks for ---------------------------------------------------------------------

    def reach(self, phase: str) -> None:
        """See hold_swap.Swap. A cancel is heard until the stop, and comes too late from then on."""
        begin = leases.begin_step
        with transaction.atomic():
            begin(self.lease, _STEPS[MovePhase(phase)])
            self._keep(phase=str(phase))

    def stop(self) -> None:
        """See hold_swap.Swap."""
        self.hands.driver_for(self.placement.host).ensure_stopped(
            self.operation.instance.public_id,
            fence=fleet.fence_of(self.placement, self.lease),
            grace_seconds=STOP_GRACE_SECONDS,
        )

    def carry(self) -> None:
        """See hold_swap.Swap: the last of the present state is copied, then the older one loaded.

        Once a load has begun the volume may hold the older data: it is not copied as `safety` again.
        """
        if not self.data:
            self._secure()
            volumes.chain_of(self._wanted)
        if self.data != _OLDER:
            self._now(_UNSURE)
            self._load("snapshot")
            self._now(_OLDER)

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

    def _name(self, argument: str) -> str:
        return str(self.operation.arguments.get(argument, ""))

    def _named(self, argument: str) -> Snapshot:
        found = snapshots.of_id(self.operation.tenant, self._name(argument))
        if found is None:
            raise SnapshotLostError(f"the copy {self._name(argument)} is not kept any more")
        return found

    def _secure(self) -> None:
        """Copy the data as it is now; the newest such copy is the way back."""
        taken = volumes.take(
            self.lease,
            self.operation.tenant,
            self.placement,
            self.hands,
            reason=SnapshotReason.RISKY,
        )
        self._keep(safety=taken.public_id)

    def _load(self, argument: str) -> None:
        volumes.load(self.lease, self.operation, self.placement, self.hands, self._named(argument))

    def _now(self, data: str) -> str:
        self._keep(data=data)
        return data

    def _keep(self, **facts: object) -> None:
        self.operation.arguments = self.operation.arguments | facts
        leases.keep_arguments(self.lease, self.operation.arguments)

    def _awaited(self, error: RuntimeCoreError) -> HostAwaitedError:
        return HostAwaitedError(
            f"host {self.placement.host.name} does not say which data the shop has, so it waits;"
            f" {self._both()} ({error.message})"
        )

    def _both(self) -> str:
        return (
            f"the data before is kept as {self._name('safety')}, the older as"
            f" {self._name('snapshot')}"
        )

    def _succeed(self) -> None:
        instance = self.operation.instance
        with transaction.atomic():
            operations.succeed(self.lease, reason=f"the data is as in {self._name('snapshot')}")
            self._is_newest_again()
            if instance.state == InstanceState.FAILED:
                transitions.move(instance, InstanceState.PROVISIONING, reason="restored")
                transitions.move(instance, InstanceState.RUNNING, reason="answered")

    def _is_newest_again(self) -> None:
        snapshots.is_newest_again(self.operation.tenant, self._name("snapshot"))

    def _end_with_newer(self, code: str, message: str, *, runs: bool) -> None:
        told = message if self.lacks_data else f"{message}; the data is as it was before"
        self.end(code, told, runs=runs)

    def end(self, code: str, message: str, *, runs: bool) -> None:
        """End the operation badly, and say of the shop what is known of it."""
        if self.lacks_data and code != CancelledError.code:
            code = DataMissingError.code
        with transaction.atomic():
            operations.end_badly(self.lease, code=code, message=message)
            if code == DataMissingError.code or self.lacks_data:
                missing.say(self.operation.instance, reason=message)
            elif not runs and self.operation.instance.state == InstanceState.RUNNING:
                transitions.move(self.operation.instance, InstanceState.FAILED, reason=message)

    def _route(self) -> RouteChange:
        return routes.to_address(
            self.operation.tenant, address=self.placement.host.address, port=self.placement.port
        )
