"""Bringing a tenant's shop up: place, start, route, check, and only then say running.

Repair is the same way walked again for a shop that was running: it keeps its place, because its
volume is there. Every try starts from the placement that was recorded.

A sign-up that failed or was called off leaves nothing running, and holds no room unless visitors were
led to it. A repair that failed leaves the shop where its data is.
"""

from dataclasses import dataclass, field

from django.db import transaction

from runtime.driver import Driver
from runtime.errors import (
    DataMissingError,
    HostOutdatedError,
    HostUnreachableError,
    RuntimeCoreError,
)
from runtime.specs import VolumeFate
from tenants.core import transitions
from tenants.errors import CancelledError, FrozenError, UpdateAwaitedError
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement import bookings, placements, routes
from tenants.placement.models import Placement
from tenants.snapshots import due
from tenants.states import HostHealth, InstanceState, TenantState, Verb
from tenants.transfers import missing_data
from workers.flows.clients import Clients
from workers.flows.errors import HostLostError, LeftoversError, PortsTakenError
from workers.flows.running.flow import Work, table
from workers.flows.steps import placing, ports, routing
from workers.flows.steps.routing import Routed
from workers.pool import mapping
from workers.scheduler import Unplaced


@dataclass(slots=True)
class SetUp(Routed):
    """waiting_for: edges that may still lead there, on the way back. is_clear: its host said that nothing
    of it is left.
    """

    waiting_for: list[str] = field(default_factory=list)
    is_clear: bool = False


def _open(lease: Lease, clients: Clients) -> SetUp:
    return SetUp(lease, clients, mapping.operation(lease))


# Forward -------------------------------------------------------------------------------------------


def _place(setup: SetUp) -> None:
    operation = setup.operation
    if getattr(operation, "has_placement", False):
        with transaction.atomic():
            leases.lock(setup.lease)
            placing.say_starting(operation)
        setup.placed = placements.open_placement(operation.instance)
        if setup.placed is not None and setup.placed.host.health == HostHealth.LOST:
            _leave(setup, setup.placed)
            setup.placed = None
    if setup.placed is not None:
        return
    if getattr(operation, "is_frozen", False):
        raise FrozenError("an operator has stopped new placements for a while")
    booking = bookings.cold_booking(operation.instance.release, operation.tenant.plan)
    decision = placing.decide(operation.instance, booking)
    if isinstance(decision, Unplaced):
        placing.refuse(setup.lease, operation, decision)
    setup.placed = placing.reserve_first(setup.lease, operation, decision, booking)


def _leave(setup: SetUp, placement: Placement) -> None:
    """Give a place on a lost host up: nobody has seen a shop that was only being set up there.

    One that visitors were led to may have data; it is brought back by a recovery, which follows.
    """
    operation = setup.operation
    if operation.verb != Verb.PROVISION or "restored" in operation.arguments:
        raise HostUnreachableError(f"host {placement.host.name} is lost")
    if mapping.may_have_data(operation):
        raise HostLostError(
            f"host {placement.host.name} was lost when the shop was open already; it is brought back with"
            " its data, or its page says what can be done"
        )
    hostname = routes.hostname_of(operation.tenant)
    waiting_for = [seat.name for seat in mapping.edges()]
    with transaction.atomic():
        leases.lock(setup.lease)
        placements.release(placement, hostname=hostname, waiting_for=waiting_for)


def _start(setup: SetUp) -> None:
    operation, placement = setup.operation, setup.placement
    driver = setup.driver(placement.host)
    try:
        if _data_came_back(operation, driver):
            # It may run on, in a directory that is not the volume any more.
            fence = mapping.fence_of(placement, setup.lease)
            driver.ensure_stopped(operation.instance.public_id, fence=fence)
        ports.start(setup.lease, mapping.spec_of(operation, placement), placement, driver)
    except HostOutdatedError as error:
        raise UpdateAwaitedError(error.message) from error
    except PortsTakenError:
        _shun(setup)
        raise


def _data_came_back(operation: Operation, driver: Driver) -> bool:
    """Return whether this repairs a shop whose data was missing and is here again, in whichever of its tries.

    DataMissingError where it is missing still: where its container runs on, a start would not say so.
    """
    volume = mapping.volume_of(operation)
    if operation.verb != Verb.REPAIR or not volume or not missing_data.is_told(operation.instance):
        return False
    if volume not in driver.volumes_here((volume,)):
        raise DataMissingError(f"volume {volume}: it is not on this host as it was known")
    return True


def _shun(setup: SetUp) -> None:
    """Give up a place at which a new shop finds no port: its next try looks for another host first."""
    operation, placement = setup.operation, setup.placement
    if operation.verb != Verb.PROVISION or mapping.may_have_data(operation):
        return
    if not _clear(setup, placement):
        return
    shunned = [*operation.arguments.get("shunned", []), placement.host_id]
    with transaction.atomic():
        setup.keep(shunned=shunned)
        hostname = routes.hostname_of(operation.tenant)
        placements.release(placement, hostname=hostname, waiting_for=[])


@transaction.atomic
def _succeed(setup: SetUp) -> None:
    operation = setup.operation
    setup.succeed()
    transitions.move(operation.instance, InstanceState.RUNNING, reason="answered through the edge")
    if operation.tenant.state != TenantState.LIVE:
        transitions.move(operation.tenant, TenantState.LIVE, reason="the shop answers")
        due.enrol_one(operation.tenant)
    if operation.verb == Verb.REPAIR:
        missing_data.say_back(operation.instance)


# Back, for a sign-up -------------------------------------------------------------------------------


def _may_be_cleared(setup: SetUp) -> bool:
    """Return whether a sign-up need not keep its place: no data of it can lie there."""
    operation = setup.operation
    is_elsewhere = "restored" in operation.arguments and setup.code == DataMissingError.code
    return is_elsewhere or not mapping.may_have_data(operation)


def _awaits_data(setup: SetUp, placement: Placement) -> bool:
    """Return whether what a sign-up's shop holds since it was open is not to be had just now."""
    is_gone = setup.code == DataMissingError.code or placement.host.health == HostHealth.LOST
    return is_gone and setup.code != CancelledError.code


def _is_closed(setup: SetUp, placement: Placement) -> bool:
    """Return whether a shop that holds something is to stand still, at its place, until the next try."""
    is_kept = _may_be_cleared(setup) or "restored" in setup.operation.arguments
    return not is_kept and not _awaits_data(setup, placement)


def _withdraw(setup: SetUp) -> None:
    placement = placements.open_placement(setup.operation.instance)
    if placement and (_may_be_cleared(setup) or _is_closed(setup, placement)):
        setup.waiting_for = routing.withdraw(setup)


def _stop(setup: SetUp) -> None:
    placement = placements.open_placement(setup.operation.instance)
    if placement is None or not _is_closed(setup, placement):
        return
    if placement.host.health != HostHealth.LOST:
        setup.driver(placement.host).ensure_stopped(
            setup.operation.instance.public_id, fence=mapping.fence_of(placement, setup.lease)
        )


def _clear_place(setup: SetUp) -> None:
    placement = placements.open_placement(setup.operation.instance)
    if placement and _may_be_cleared(setup):
        setup.is_clear = _clear(setup, placement)
        if not setup.is_clear:
            host = placement.host.name
            raise LeftoversError(f"{host} has not confirmed yet that the shop does not run there")


def _clear(setup: SetUp, placement: Placement) -> bool:
    """Return whether the host has said that nothing of the instance runs there, or was lost: a host that
    comes back stops what is not its own before anything else. Only then may it go elsewhere.
    """
    if placement.host.health == HostHealth.LOST:
        return True
    try:
        setup.driver(placement.host).ensure_absent(
            setup.operation.instance.public_id,
            fence=mapping.fence_of(placement, setup.lease),
            # Nobody was led to it yet: what is in its volume is only what its start put there.
            volume=VolumeFate.KEEP if mapping.may_have_data(setup.operation) else VolumeFate.DELETE,
        )
    except RuntimeCoreError:
        return False
    return True


@transaction.atomic
def _fail(setup: SetUp) -> None:
    operation, code, message = setup.operation, setup.code, setup.message
    placement = placements.open_placement(operation.instance)
    setup.end_badly(code, message)
    if placement is not None and setup.is_clear:
        hostname = routes.hostname_of(operation.tenant)
        placements.release(placement, hostname=hostname, waiting_for=setup.waiting_for)
    if _is_left_open(setup, placement) and operation.tenant.state != TenantState.LIVE:
        # From here on it is a shop like any other: its host, a copy or a choice brings it back.
        transitions.move(operation.tenant, TenantState.LIVE, reason="it was open already")
    if code == DataMissingError.code and operation.tenant.state == TenantState.LIVE:
        missing_data.say(operation.instance, reason=message)
    elif operation.instance.state != InstanceState.FAILED:
        transitions.move(operation.instance, InstanceState.FAILED, reason=message)
    if operation.tenant.state == TenantState.REQUESTED:
        transitions.move(operation.tenant, TenantState.FAILED, reason=message)


def _is_left_open(setup: SetUp, placement: Placement | None) -> bool:
    operation = setup.operation
    is_new = operation.verb == Verb.PROVISION and "restored" not in operation.arguments
    return (
        placement is not None
        and is_new
        and not _may_be_cleared(setup)
        and _awaits_data(setup, placement)
    )


FLOW = table(
    Verb.PROVISION,
    {
        "place": Work(_place, undo=_clear_place),
        "start": Work(_start, undo=_stop),
        "route": Work(routing.open_route, undo=_withdraw, record=routing.record),
        "check": Work(routing.look),
    },
    open=_open,
    succeed=_succeed,
    fail=_fail,
)
REPAIR = table(
    Verb.REPAIR,
    {
        "place": Work(_place),
        "start": Work(_start),
        "route": Work(routing.open_route, record=routing.record),
        "check": Work(routing.look),
    },
    open=_open,
    succeed=_succeed,
    fail=_fail,
)
