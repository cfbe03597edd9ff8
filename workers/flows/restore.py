"""Taking a shop's data back to an earlier state: first the present one is copied, then under a hold
the container ends, the older data is loaded, and the container starts again.

The newer data is never lost: the copy made after the stop (`safety`) is the way back, and it is not
replaced once a load has begun. Where the shop does not start with the older data, the newer one is
loaded again. What else a later try has to know is kept in the operation's arguments, each write guarded
by the lease:

safety     the copy of the newer data.
data       what the volume holds: absent while it is untouched, "unsure" while a load is under way,
           then "older" or "newer".

The record tells the truth about the data at every end: the operation succeeds with the older data,
fails with the newer, or fails with a code that says which data the shop has (errors.LEFT_OLDER,
LEFT_UNSURE).
"""

from dataclasses import dataclass

from django.db import transaction

from runtime.errors import (
    ArchiveDamagedError,
    HostUnreachableError,
    OutcomeUnknownError,
    RuntimeCoreError,
    TransferFailedError,
)
from tenants.errors import LeaseLostError, SnapshotLostError, TenantsError
from tenants.operations.leases import Lease
from tenants.placement import placements
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import RepositoryError
from tenants.states import HostHealth, SnapshotReason, Verb
from workers.flows.clients import Clients
from workers.flows.errors import LEFT_OLDER, LEFT_UNSURE, HostAwaitedError, SwapFailedError
from workers.flows.running.flow import Work, table
from workers.flows.steps import hold_swap, routing, volumes
from workers.flows.steps.hold_swap import Swap
from workers.pool import mapping

STOP_GRACE_SECONDS = 5.0
_UNSURE, _OLDER, _NEWER = "unsure", "older", "newer"
# What may be true although nobody said so: it is asked again until somebody does.
_SILENT = (HostUnreachableError, OutcomeUnknownError, RepositoryError)


@dataclass(slots=True)
class Restoring(Swap):
    """One restore on its way. runs: the shop was started again on the way back."""

    runs: bool = False

    @property
    def data(self) -> str:
        """What the volume holds (see above)."""
        return str(self.operation.arguments.get("data", ""))

    @property
    def is_host_lost(self) -> bool:
        """Whether the host is lost: the shop comes back elsewhere, from its newest copy."""
        return self.placement.host.health == HostHealth.LOST

    def name(self, argument: str) -> str:
        """Return what a copy is called that the arguments name."""
        return str(self.operation.arguments.get(argument, ""))

    def copy(self, argument: str) -> Snapshot:
        """Return a copy that the arguments name. Raises SnapshotLostError."""
        found = snapshots.of_id(self.operation.tenant, self.name(argument))
        if found is None:
            raise SnapshotLostError(f"the copy {self.name(argument)} is not kept any more")
        return found

    def load(self, argument: str) -> None:
        """Make the volume be what it was in a copy."""
        copy = self.copy(argument)
        volumes.load(self.lease, self.operation, self.placement, self.clients, copy)


def _open(lease: Lease, clients: Clients) -> Restoring:
    operation = mapping.operation(lease)
    placed = placements.open_placement(operation.instance)
    return Restoring(lease, clients, operation, placed=placed)


# Forward -------------------------------------------------------------------------------------------


def _safeguard(restoring: Restoring) -> None:
    hold_swap.release_forgotten(restoring, restoring.placement)
    volumes.check_agents(restoring.clients, restoring.placement.host)
    # Read as a whole now: what is damaged is refused before anybody notices anything.
    volumes.read_again(restoring.copy("snapshot"))
    if "safety" not in restoring.operation.arguments:
        _copy_newer(restoring)


def _copy_newer(restoring: Restoring) -> None:
    """Copy the data as it is now; the newest such copy is the way back."""
    taken = volumes.take(
        restoring.lease,
        restoring.operation.tenant,
        restoring.placement,
        restoring.clients,
        reason=SnapshotReason.RISKY,
    )
    restoring.keep(safety=taken.public_id)


def _hold(restoring: Restoring) -> None:
    hold_swap.hold(restoring, restoring.placement)


def _stop(restoring: Restoring) -> None:
    hold_swap.stop(restoring, restoring.placement, grace_seconds=STOP_GRACE_SECONDS)


def _secure(restoring: Restoring) -> None:
    """Once a load has begun the volume may hold the older data: it is not copied as `safety` again."""
    if not restoring.data:
        _copy_newer(restoring)
        volumes.chain_of(restoring.copy("snapshot"))


def _load(restoring: Restoring) -> None:
    if restoring.data != _OLDER:
        restoring.keep(data=_UNSURE)
        restoring.load("snapshot")
        restoring.keep(data=_OLDER)


def _start(restoring: Restoring) -> None:
    hold_swap.start(restoring, restoring.placement)


def _check(restoring: Restoring) -> None:
    if restoring.is_host_lost:
        host = restoring.placement.host.name
        raise SwapFailedError(f"host {host} was lost in the meantime")
    hold_swap.let_in(restoring)


@transaction.atomic
def _succeed(restoring: Restoring) -> None:
    restoring.succeed(f"the data is as in {restoring.name('snapshot')}")
    snapshots.is_newest_again(restoring.operation.tenant, restoring.name("snapshot"))
    hold_swap.say_running(restoring, "restored")


# Back ----------------------------------------------------------------------------------------------


def _bring_back(restoring: Restoring) -> None:
    """Load the newer data again, and keep which data the volume has now; "unsure" where nobody can tell.

    A load changes all or nothing. So where the newer data cannot be loaded, the older is asked for: a
    host that has it says so without fetching anything, and one that tries to fetch it and cannot has
    never had it. Raises HostAwaitedError while neither can be known.
    """
    before = restoring.data
    if restoring.placed is None or restoring.is_host_lost or before not in (_UNSURE, _OLDER):
        return
    try:
        hold_swap.end_container(restoring, restoring.placement, grace_seconds=STOP_GRACE_SECONDS)
        restoring.load("safety")
    except _SILENT as error:
        raise _awaited(restoring, error) from error
    except LeaseLostError:
        raise
    except (RuntimeCoreError, TenantsError):
        if before == _UNSURE:
            _ask_for_older(restoring)
    else:
        restoring.keep(data=_NEWER)


def _ask_for_older(restoring: Restoring) -> None:
    try:
        volumes.chain_of(restoring.copy("snapshot"))
    except SnapshotLostError:
        return
    except RepositoryError as error:
        raise _awaited(restoring, error) from error
    try:
        restoring.load("snapshot")
    except _SILENT as error:
        raise _awaited(restoring, error) from error
    except (TransferFailedError, ArchiveDamagedError, SnapshotLostError):
        restoring.keep(data=_NEWER)
    except RuntimeCoreError:
        return
    else:
        restoring.keep(data=_OLDER)


def _run_again(restoring: Restoring) -> None:
    """Start the shop on the data it has, and let requests go: they may be held still."""
    if restoring.placed is None or restoring.is_host_lost:
        return
    hold_swap.run_again(restoring, restoring.placement)
    restoring.runs = not restoring.is_down


def _awaited(restoring: Restoring, error: RuntimeCoreError | RepositoryError) -> HostAwaitedError:
    return HostAwaitedError(
        f"host {restoring.placement.host.name} does not say which data the shop has, so it waits;"
        f" {_both(restoring)} ({error})"
    )


def _both(restoring: Restoring) -> str:
    return (
        f"the data before is kept as {restoring.name('safety')}, the older as"
        f" {restoring.name('snapshot')}"
    )


@transaction.atomic
def _fail(restoring: Restoring) -> None:
    """Say which data the shop has: the newer wherever it can be had."""
    code, message, phase = restoring.code, restoring.message, restoring.operation.phase
    if restoring.placed is None:
        restoring.end_badly(code, message)
    elif phase in ("", "safeguard"):
        hold_swap.end_badly(restoring, code, message, runs=True)
    elif phase == "check":
        _end_with_older(restoring, message)
    elif restoring.is_host_lost or restoring.data not in (_UNSURE, _OLDER):
        # A lost host's shop comes back elsewhere from its newest copy, which is `safety`.
        words = message if restoring.lacks_data else f"{message}; the data is as it was before"
        hold_swap.end_badly(restoring, code, words, runs=restoring.runs)
    elif restoring.data == _UNSURE:
        both = f"{message}; {_both(restoring)}"
        hold_swap.end_badly(restoring, LEFT_UNSURE, both, runs=restoring.runs)
    elif restoring.runs:
        # What was asked for after all: it runs on the older data.
        _succeed(restoring)
    else:
        _end_with_older(restoring, message)


def _end_with_older(restoring: Restoring, message: str) -> None:
    snapshots.is_newest_again(restoring.operation.tenant, restoring.name("snapshot"))
    words = (
        f"{message}; the data is as in {restoring.name('snapshot')}, and as it was before in"
        f" {restoring.name('safety')}"
    )
    hold_swap.end_badly(restoring, LEFT_OLDER, words, runs=restoring.runs)


FLOW = table(
    Verb.RESTORE,
    {
        "safeguard": Work(_safeguard),
        "hold": Work(_hold, undo=_run_again),
        "stop": Work(_stop),
        "secure": Work(_secure),
        "load": Work(_load, undo=_bring_back),
        "start": Work(_start),
        "check": Work(_check, undo=_run_again, record=routing.record),
    },
    open=_open,
    succeed=_succeed,
    fail=_fail,
)
