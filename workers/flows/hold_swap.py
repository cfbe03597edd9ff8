"""The one way to change what answers for a shop whose data only one container may have open.

Requests are held at the edges, those in flight are waited for, the old container ends, the new one
starts, the route changes, the edges let go. Visitors wait; nobody is told away. A move uses it with
another host, an update with another release, a restore with another state of the data, a wake with no
container to end.

The flow brings what is to be swapped as a `Swap`, and records each phase before its work begins: a
process that dies at any line leaves a phase behind from which the next claim goes on. Up to the stop
all can be undone without anybody having noticed; after it the swap goes on to its end, or the flow
brings the old container back.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from django.db import connection
from django.db.backends.utils import CursorWrapper

from tenants import limits
from tenants.models import Operation, Placement
from tenants.services import routes
from tenants.services.routes import RouteChange
from tenants.states import MovePhase
from workers import fleet
from workers.edges import EdgeSeat, Spread
from workers.flows.errors import BusyShopError, EdgeRefusedError, EdgesSilentError
from workers.flows.hands import Hands

# How long requests may be waited for, try by try; the last one takes what is still in flight with it.
# A shop with a request that lasts (a download, a socket) is let go in between, so that nobody who
# comes meanwhile waits long for it.
QUIET_SECONDS = (0.6, 1.0, 2.0, 10.0)
_LOOK_SECONDS = 0.01
_TURN_LOOK_SECONDS = 0.05
# The two numbers of an advisory lock: ours, and the host's.
_OURS = 0x570B


class Swap(Protocol):
    """What changes places. Every method may be repeated."""

    def reach(self, phase: str) -> None:
        """Write down, with the lease, that the work of this phase begins."""
        ...

    def stop(self) -> None:
        """See to it that the old container has ended."""
        ...

    def carry(self) -> None:
        """Bring over what of the data is still missing; nobody writes to it now."""
        ...

    def start(self) -> None:
        """See to it that the new container runs and answers on its host."""
        ...

    def switch(self) -> RouteChange:
        """Record the new place, or state, and the route to it, in one transaction."""
        ...


@dataclass(slots=True)
class Clock:
    """How long each part took, and how long requests have been held.

    Counted by this process: a swap that another one began is longer than it knows.
    """

    timings_ms: dict[str, float] = field(default_factory=dict)
    held_since: float | None = None
    held_ms: float | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part's."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = (time.monotonic() - began) * 1000
            self.timings_ms[name] = self.timings_ms.get(name, 0.0) + took

    def hold(self) -> None:
        """Requests are held from now on."""
        self.held_since = self.held_since or time.monotonic()

    def let_go(self) -> None:
        """Nobody is held any more."""
        if self.held_since is not None:
            self.held_ms = max(self.held_ms or 0.0, (time.monotonic() - self.held_since) * 1000)
        self.held_since = None


def carry_out(
    operation: Operation, old: Placement, hands: Hands, swap: Swap, *, phase: str, clock: Clock
) -> None:
    """Swap, from the phase that an earlier try has come to; returns once every ready edge has let go.

    old: where requests go until the switch. Raises BusyShopError or EdgesSilentError while nothing
    has happened yet that anybody notices; what else is raised comes from the swap's own parts.
    """
    with _turn(old.host_id):
        if phase in (MovePhase.PREPARING, MovePhase.HOLDING):
            swap.reach(MovePhase.HOLDING)
            _quieten(operation, old, hands, clock)
        else:
            # Whoever was at it before has come past the stop; held they still have to be.
            _hold(operation, hands, clock)
        if phase != MovePhase.STARTING:
            swap.reach(MovePhase.STOPPING)
            with clock.part("stop"):
                swap.stop()
            swap.carry()
            swap.reach(MovePhase.STARTING)
        with clock.part("start"):
            swap.start()
        change = swap.switch()
        with clock.part("route"):
            spread(change, hands)
        clock.let_go()


def release(operation: Operation, to: Placement, hands: Hands, clock: Clock) -> None:
    """Let held requests go to a place: back to where they came from, after what was not to be."""
    change = routes.to_address(operation.tenant, address=to.host.address, port=to.port)
    try:
        spread(change, hands)
    finally:
        clock.let_go()


def spread(change: RouteChange, hands: Hands) -> tuple[list[EdgeSeat], list[str]]:
    """Tell edges a route: the ready edges, which have all taken it, and the names of those that have not.

    Raises EdgesSilentError when a ready one did not, or none is ready; EdgeRefusedError when it cannot.
    """
    seats = fleet.edges()
    ready = [seat for seat in seats if seat.is_ready]
    if not ready:
        raise EdgesSilentError("no edge is in step and heard; shops cannot be reached just now")
    told = hands.edges.apply(seats, [fleet.message_of(change)])
    must_be_taken(told)
    return ready, [seat.name for seat in seats if seat.name not in told.acknowledged]


def must_be_taken(told: Spread) -> None:
    """Raise what it means that a ready edge did not take a route."""
    if told.refused:
        raise EdgeRefusedError(f"refused: {'; '.join(told.refused)}")
    if told.failures:
        raise EdgesSilentError("; ".join(told.failures))


def await_quiet(value: str, hands: Hands, *, seconds: float) -> bool:
    """Wait until no edge has a request in flight to the route's value; whether that came true.

    An edge that does not say is one that may have some.
    """
    deadline = time.monotonic() + seconds
    pause = _LOOK_SECONDS
    while True:
        flight = hands.edges.in_flight(fleet.edges(), value)
        if flight.count == 0 and not flight.failures:
            return True
        if time.monotonic() + pause > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _quieten(operation: Operation, old: Placement, hands: Hands, clock: Clock) -> None:
    """Hold, and wait for requests in flight; with the last try's patience used up, go on without."""
    tries = min(operation.attempts, len(QUIET_SECONDS)) - 1
    patience = QUIET_SECONDS[max(0, tries)]
    value = routes.value_to(operation.tenant, address=old.host.address, port=old.port)
    try:
        _hold(operation, hands, clock)
        with clock.part("quiet"):
            is_quiet = await_quiet(value, hands, seconds=patience)
    except EdgesSilentError:
        release(operation, old, hands, clock)
        raise
    if not is_quiet and patience < QUIET_SECONDS[-1]:
        release(operation, old, hands, clock)
        raise BusyShopError(f"requests were still in flight after {patience:g} s; later again")


def _hold(operation: Operation, hands: Hands, clock: Clock) -> None:
    clock.hold()
    with clock.part("hold"):
        spread(routes.to_hold(operation.tenant), hands)


@contextmanager
def _turn(host_pk: int) -> Iterator[None]:
    """One swap at a time per host: shops held at once would wait for each other's starts.

    After a while without a turn it goes on: a lock is courtesy here, not safety.
    """
    with connection.cursor() as cursor:
        is_ours = _wait_for_turn(cursor, host_pk)
    try:
        yield
    finally:
        if is_ours and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_OURS, host_pk])


def _wait_for_turn(cursor: CursorWrapper, host_pk: int) -> bool:
    deadline = time.monotonic() + limits.TURN_SECONDS
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_OURS, host_pk])
        if cursor.fetchone()[0]:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_TURN_LOOK_SECONDS)
