"""Leading visitors to a shop: routes that edges take, hold and let go, and a look through each edge.

A route step is done when every edge that serves has passed its number. Each edge receives the change at
once. One that did not answer reads it from the table of routes, and reports how far it is. One that stops
being ready serves no visitor and is no longer waited for.

A route is only recorded while the operation is ours: a worker that was overtaken changes none.
"""

import time
from dataclasses import dataclass, field

from django.db import transaction

from tenants.errors import StateConflictError
from tenants.operations import leases
from tenants.operations.models import Operation
from tenants.placement import routes
from tenants.placement.models import Placement
from tenants.placement.routes import RouteChange
from workers.flows.clients import Clients
from workers.flows.errors import EdgeRefusedError, EdgesSilentError, ShopSilentError
from workers.flows.running.flow import Context
from workers.pool import mapping
from workers.rpc.edge_types import EdgeSeat

CHECK_SECONDS = 5.0
# Beside the time that edges have to answer: a report comes every two seconds (limits.ROUTE_SECONDS).
PASS_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.02
_PASS_PAUSE_SECONDS = 0.25


@dataclass(slots=True)
class Routed(Context):
    """An attempt that leads visitors to a place.

    placed: the place of the record. change: the route that was recorded. ready: the edges that took it.
    """

    placed: Placement | None = None
    change: RouteChange | None = None
    ready: list[EdgeSeat] = field(default_factory=list)

    @property
    def placement(self) -> Placement:
        """Where the record has the shop. Raises StateConflictError when it has no place any more."""
        if self.placed is None:
            raise StateConflictError(f"{self.operation.instance.public_id} is on no host any more")
        return self.placed


def record(routed: Routed) -> None:
    """Record the route to the place of the record; part of a step."""
    routed.change = change_to(routed, routed.placement)


def open_route(routed: Routed) -> None:
    """Have every edge that serves take the route that was recorded; part of a step."""
    if routed.change is not None:
        routed.ready = spread(routed.change, routed.clients)


def look(routed: Routed) -> None:
    """See the shop answer through each edge; part of a step. Raises ShopSilentError."""
    check(routed.operation, routed.ready, routed.clients)


def spread(change: RouteChange, clients: Clients) -> list[EdgeSeat]:
    """Tell edges a route, and wait until every ready one has passed its number; gives those.

    Raises EdgesSilentError when one does not in time, or none is ready; EdgeRefusedError when it cannot.
    """
    seats = mapping.edges()
    ready = [seat for seat in seats if seat.is_ready]
    if not ready:
        raise EdgesSilentError("no edge is in step and heard; shops cannot be reached just now")
    applied = clients.edges.apply(seats, [mapping.message_of(change)])
    if applied.refused:
        raise EdgeRefusedError(f"refused: {'; '.join(applied.refused)}")
    if applied.failures:
        waited_for = {seat.name for seat in ready} - applied.acknowledged
        if not _have_passed(waited_for, change.sequence):
            raise EdgesSilentError("; ".join(applied.failures))
        ready = [seat for seat in mapping.edges() if seat.is_ready]
    return ready


def _have_passed(names: set[str], sequence: int) -> bool:
    """Return whether all these edges say in time that they have passed the number, or serve no more."""
    deadline = time.monotonic() + PASS_SECONDS
    while True:
        behind = [
            seat
            for seat in mapping.edges()
            if seat.name in names and seat.is_ready and seat.applied_sequence < sequence
        ]
        if not behind:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(min(_PASS_PAUSE_SECONDS, PASS_SECONDS))


def change_to(context: Context, place: Placement) -> RouteChange:
    """Record the route to a place, in a transaction in which the operation is ours.

    Raises RouteRefusedError before anything is recorded.
    """
    return routes.to_address(context.operation.tenant, address=place.host.address, port=place.port)


def lead_to(context: Context, place: Placement) -> None:
    """Lead the shop's hostname to a place on every ready edge."""
    with transaction.atomic():
        leases.lock(context.lease)
        change = change_to(context, place)
    spread(change, context.clients)


def hold(context: Context) -> None:
    """Have every ready edge hold the shop's requests."""
    with transaction.atomic():
        leases.lock(context.lease)
        change = routes.to_hold(context.operation.tenant)
    spread(change, context.clients)


def withdraw(context: Context) -> list[str]:
    """Take the tenant's route off the edges; the names of those that have not yet said so."""
    tenant = context.operation.tenant
    with transaction.atomic():
        leases.lock(context.lease)
        if not routes.was_opened(tenant):
            return []
        change = routes.withdraw(tenant)
    seats = mapping.edges()
    applied = context.clients.edges.apply(seats, [mapping.message_of(change)])
    return [seat.name for seat in seats if seat.name not in applied.acknowledged]


def check(operation: Operation, ready: list[EdgeSeat], clients: Clients) -> None:
    """Ask each edge for the shop until it answers 200. Raises ShopSilentError."""
    hostname = routes.hostname_of(operation.tenant)
    path = operation.instance.release.health_path or "/"
    deadline = time.monotonic() + CHECK_SECONDS
    for seat in ready:
        pause = _FIRST_PAUSE_SECONDS
        while (status := clients.look(seat, hostname, path)) != 200:
            if time.monotonic() + pause > deadline:
                raise ShopSilentError(f"edge {seat.name} {_answer(status)} for {hostname}{path}")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)


def _answer(status: int) -> str:
    return f"answered {status} instead of 200" if status else "gave no answer"
