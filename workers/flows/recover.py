"""Bringing a shop back to its data: place, load a copy where the data is not, start, route, check.

Two things lead here: a host that was lost, and somebody's choice for a shop whose data is missing. Data
comes first. The next place is only booked beside the one in the record, as a move does. The record's place,
with whatever is left there, is given up once a whole copy has been loaded elsewhere. So a host that comes
back before has its shop again, with nothing lost, and no repair can find a place that has no data.

A copy that turns out damaged is marked and the next older one taken. Whatever else stands in the way,
the repository, the depot, room, a host that is silent, is waited for as long as it takes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from runtime.errors import DataMissingError, HostUnreachableError, OutcomeUnknownError
from tenants.core import freezes, transitions
from tenants.core.models import FreezeSwitch
from tenants.errors import FrozenError, NoRoomError, PoolUnseenError
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement import placements, routes
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.snapshots.repositories import RepositoryError
from tenants.states import DataChoice, EventKind, HostHealth, InstanceState, TenantState, Verb
from tenants.transfers import missing_data, moves
from tenants.transfers.models import Move
from workers.flows.clients import Clients
from workers.flows.errors import DataAwaitedError, LeftoversError, NoCopyError
from workers.flows.running.flow import Work, table
from workers.flows.steps import copies, placing, ports, routing
from workers.flows.steps.routing import Routed
from workers.pool import mapping
from workers.scheduler import Unplaced

LONGEST_PAUSE_SECONDS = 30.0  # between two looks of one that waits


@dataclass(slots=True)
class Recovery(Routed):
    """One shop on its way back.

    beside: the place that is booked beside the record's. is_clear: nothing of the shop is left there.
    """

    beside: Move | None = None
    is_clear: bool = False

    @property
    def is_host_lost(self) -> bool:
        """Whether it is to come back on another host."""
        return self.placement.host.health == HostHealth.LOST

    @property
    def choice(self) -> str:
        """What somebody chose for data that is missing; "" where a lost host led here."""
        return str(self.operation.arguments.get("choice", ""))

    @property
    def wants_copy(self) -> bool:
        """Whether a copy may be loaded."""
        return self.choice != DataChoice.EMPTY

    @property
    def needs_copy(self) -> bool:
        """Whether there is no way without one."""
        return bool(mapping.volume_of(self.operation)) and self.wants_copy


def _open(lease: Lease, clients: Clients) -> Recovery:
    operation = mapping.operation(lease)
    instance = operation.instance
    placed, beside = placements.open_placement(instance), moves.open_move(instance)
    return Recovery(lease, clients, operation, placed=placed, beside=beside)


def _waiting(act: Callable[[Recovery], None]) -> Callable[[Recovery], None]:
    """Wait for what a host, an operator or time will give, without using up a try.

    One that has waited long looks less often: a try may take seconds of a worker's, and many may wait.
    """

    def waits(recovery: Recovery) -> None:
        try:
            act(recovery)
        except DataAwaitedError as error:
            error.pause_seconds = _pause(recovery.operation)
            raise
        except (
            HostUnreachableError,
            OutcomeUnknownError,
            LeftoversError,
            NoRoomError,
            PoolUnseenError,
            FrozenError,
            RepositoryError,
        ) as error:
            awaited = DataAwaitedError(str(error))
            awaited.pause_seconds = _pause(recovery.operation)
            raise awaited from error

    return waits


def _pause(operation: Operation) -> float:
    since = operation.waiting_since
    waited = (timezone.now() - since).total_seconds() if since else 0.0
    return max(DataAwaitedError.pause_seconds, min(waited / 4, LONGEST_PAUSE_SECONDS))


# Where ---------------------------------------------------------------------------------------------


def _say_starting(recovery: Recovery) -> None:
    placing.say_starting(recovery.operation)


@_waiting
def _place(recovery: Recovery) -> None:
    """On another host, booked beside a lost one; else at the place of the record."""
    _clear_strange_place(recovery)
    if not recovery.is_host_lost:
        return
    if freezes.is_on(FreezeSwitch.Name.REPLACING):
        raise FrozenError("an operator has stopped bringing shops back elsewhere for a while")
    if "begun" in recovery.operation.arguments:
        _end_choice(recovery)
    if recovery.needs_copy:
        copies.check(recovery)
    if recovery.beside is None:
        recovery.beside = _reserve(recovery)


def _clear_strange_place(recovery: Recovery) -> None:
    """End a move that this has overtaken, and let go of a place that is not needed any more."""
    beside, lost = recovery.beside, recovery.is_host_lost
    if beside is None:
        return
    is_ours = beside.operation_id == recovery.operation.pk
    if is_ours and lost and not moves.is_lost_since(beside.target, beside.target_epoch):
        return
    placing.clear_overtaken(recovery.lease, recovery.operation, recovery.clients)
    recovery.beside = None


def _reserve(recovery: Recovery) -> Move:
    operation, old = recovery.operation, recovery.placement
    decision = placing.decide(operation.instance, placements.booking_of(old))
    if isinstance(decision, Unplaced):
        if operation.waiting_since is not None:  # written down when the wait began
            raise NoRoomError("no host has room for the shop yet")
        placing.refuse(recovery.lease, operation, decision)
    reasons = list(decision.reasons)
    return placing.reserve_beside(recovery.lease, operation, old, decision.candidates, reasons)


def _end_choice(recovery: Recovery) -> None:
    """The shop that was to begin empty has begun, or may have, on the host that is lost: from now on it
    is brought back as any other.
    """
    arguments = recovery.operation.arguments
    left = {name: arguments[name] for name in arguments if name not in ("choice", "begun")}
    recovery.operation.arguments = left
    leases.keep_arguments(recovery.lease, left)


# Which data ----------------------------------------------------------------------------------------


@_waiting
def _load(recovery: Recovery) -> None:
    if recovery.beside is not None:
        if recovery.needs_copy:
            target = placing.target_of(recovery.beside, recovery.operation.instance)
            copies.load(recovery, target, only_missing=False)
        return
    # Without a choice a lost host led here, and it is back: its own data is newer than any copy.
    is_doubted = bool(recovery.choice) or missing_data.is_told(recovery.operation.instance)
    has_begun = missing_data.has_begun_empty(recovery.operation)
    if mapping.volume_of(recovery.operation) and is_doubted and not has_begun:
        _find_data(recovery)


def _find_data(recovery: Recovery) -> None:
    """See to it that the data lies where a start finds it, and that nothing runs beside it."""
    operation, here = recovery.operation, recovery.placement
    volume, driver = mapping.volume_of(operation), recovery.driver(here.host)
    is_here = volume in driver.volumes_here((volume,))
    if not is_here or "loaded" not in operation.arguments:
        # It may run on, in a directory that is not the volume any more: a start would leave it so.
        fence = mapping.fence_of(here, recovery.lease)
        driver.ensure_stopped(operation.instance.public_id, fence=fence)
    if is_here:
        recovery.keep(loaded=operation.arguments.get("loaded", ""))
    elif not recovery.choice:
        raise DataMissingError(f"volume {volume}: it is not on this host as it was known")
    elif recovery.wants_copy:
        copies.load(recovery, here, only_missing=True)


# Up ------------------------------------------------------------------------------------------------


def _switch(recovery: Recovery) -> None:
    """Only now that its data is there is the other host the place of the record. A cancel comes before
    this or is refused.
    """
    beside = recovery.beside
    if beside is None:
        return
    lost = recovery.placement.host.name
    moves.change_place(recovery.lease, beside)
    moves.close(beside, hostname=routes.hostname_of(recovery.operation.tenant))
    recovery.keep(host=beside.target.name, lost_host=lost)
    recovery.beside = None
    recovery.placed = placements.open_placement(recovery.operation.instance)


@_waiting
def _start(recovery: Recovery) -> None:
    """Start the shop there. One that begins empty is known to have data before anybody can order."""
    operation, placement = recovery.operation, recovery.placement
    # Which copy was loaded, how old it is and what is lost.
    leases.note_step(recovery.lease, "load", _sentence(recovery))
    spec = mapping.spec_of(operation, placement)
    if spec.new_volume and routes.leads_to(
        operation.tenant, address=placement.host.address, port=placement.port
    ):
        # The edges never stopped leading there: visitors reach it before its start has ended.
        recovery.keep(begun=missing_data.TRIED)
    ports.start(recovery.lease, spec, placement, recovery.driver(placement.host))
    if spec.new_volume:
        recovery.keep(begun=missing_data.DONE)


def _sentence(recovery: Recovery) -> str:
    if recovery.choice == DataChoice.EMPTY:
        return "begun empty, as was asked for"
    return copies.sentence(recovery.operation)


@transaction.atomic
def _succeed(recovery: Recovery) -> None:
    operation, placement = recovery.operation, recovery.placement
    if not _is_alive(placement):
        raise HostUnreachableError(f"host {placement.host.name} was lost in the meantime")
    recovery.succeed()
    transitions.move(operation.instance, InstanceState.RUNNING, reason="answered through the edge")
    if operation.tenant.state != TenantState.LIVE:
        transitions.move(operation.tenant, TenantState.LIVE, reason="the shop answers")
    names = ["choice", "lost_host"]
    if operation.arguments.get("loaded"):
        names += ["snapshot", "taken_at", "lost_seconds", "skipped"]
    facts = {name: operation.arguments[name] for name in names if name in operation.arguments}
    kind = EventKind.RECOVERED if "lost_host" in facts else EventKind.DATA_BACK
    health.note(operation.instance, kind, {"host": placement.host.name} | facts)


def _is_alive(placement: Placement) -> bool:
    return Placement.objects.filter(
        pk=placement.pk, until__isnull=True, host__epoch=placement.host.epoch
    ).exists()


# Back: the shop keeps the place of the record -------------------------------------------------------


def _clear_beside(recovery: Recovery) -> None:
    beside = recovery.beside
    if beside is not None and beside.operation_id == recovery.operation.pk:
        recovery.is_clear = placing.clear(beside, recovery.lease.fence, recovery.clients)


@transaction.atomic
def _fail(recovery: Recovery) -> None:
    """The shop's data, or the lack of it, is said."""
    operation, code, message = recovery.operation, recovery.code, recovery.message
    recovery.end_badly(code, message)
    if recovery.is_clear and recovery.beside is not None:
        moves.close(recovery.beside, hostname=routes.hostname_of(operation.tenant))
    has_data = "loaded" in operation.arguments or missing_data.has_begun_empty(operation)
    is_chosen = bool(recovery.choice)
    if (is_chosen and not has_data) or code in (NoCopyError.code, DataMissingError.code):
        missing_data.say(operation.instance, reason=message)
    elif operation.instance.state != InstanceState.FAILED:
        transitions.move(operation.instance, InstanceState.FAILED, reason=message)


FLOW = table(
    Verb.RECOVER,
    {
        "place": Work(_place, undo=_clear_beside, record=_say_starting),
        "load": Work(_load),
        # Undone is what a later try has booked, after its host was lost too.
        "start": Work(_start, undo=_clear_beside, record=_switch),
        "route": Work(routing.open_route, record=routing.record),
        "check": Work(routing.look),
    },
    open=_open,
    succeed=_succeed,
    fail=_fail,
)
