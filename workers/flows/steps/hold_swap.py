"""Holding a shop's requests while what answers them changes, for data that only one container may have open.

Requests are held at the edges, those in flight are waited for, the old container ends, the new one
starts, the route changes, the edges let go. Visitors wait; none gets an error. A move uses it with
another host, a restore with another state of the data.

Up to the stop all can be undone without anybody having noticed; after it the flow goes on to its end, or
brings the old container back.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runtime.errors import DataMissingError, RuntimeCoreError
from tenants.core import transitions
from tenants.errors import CancelledError, RouteRefusedError
from tenants.operations import time_limits
from tenants.placement import routes
from tenants.placement.models import Placement
from tenants.states import InstanceState
from tenants.transfers import missing_data, turns
from workers.flows.clients import Clients
from workers.flows.errors import BusyShopError, EdgesSilentError, FlowError
from workers.flows.steps import routing
from workers.flows.steps.routing import Routed
from workers.pool import mapping

# How long requests may be waited for, try by try; the last one takes what is still in flight with it.
# A shop with a request that lasts (a download, a socket) is let go in between, so that nobody who
# comes meanwhile waits long for it.
QUIET_SECONDS = (0.6, 1.0, 2.0, 10.0)
_LOOK_SECONDS = 0.01
_TURN_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Clock:
    """How long each part took, and how long requests have been held.

    Counted by this process: a hold that another one began is longer than it knows.
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


@dataclass(slots=True)
class Swap(Routed):
    """An attempt that may hold a shop's requests; at most one per host does at a time.

    is_down: on the way back it was to be started again, and was not. lacks_data: since its data is not there.
    """

    clock: Clock = field(default_factory=Clock)
    is_down: bool = False
    lacks_data: bool = False


def hold(swap: Swap, old: Placement) -> None:
    """Hold, and wait for requests in flight; with the last try's patience used up, go on without.

    old: where requests go until now. Raises BusyShopError or EdgesSilentError with nobody held any more.
    """
    tries = min(swap.operation.attempts, len(QUIET_SECONDS)) - 1
    patience = QUIET_SECONDS[max(0, tries)]
    value = routes.value_to(swap.operation.tenant, address=old.host.address, port=old.port)
    try:
        keep_held(swap, old)
        with swap.clock.part("quiet"):
            is_quiet = await_quiet(value, swap.clients, seconds=patience)
    except EdgesSilentError:
        release(swap, old)
        raise
    if not is_quiet and patience < QUIET_SECONDS[-1]:
        release(swap, old)
        raise BusyShopError(f"requests were still in flight after {patience:g} s; later again")


def keep_held(swap: Swap, old: Placement) -> None:
    """Hold requests, unless this attempt does already; the worker before may have been killed."""
    if swap.clock.held_since is not None:
        return
    _wait_for_turn(swap, old.host_id)
    swap.clock.hold()
    with swap.clock.part("hold"):
        routing.hold(swap)


def stop(swap: Swap, old: Placement, *, grace_seconds: float) -> None:
    """End the old container while requests are held."""
    keep_held(swap, old)
    with swap.clock.part("stop"):
        end_container(swap, old, grace_seconds=grace_seconds)


def end_container(swap: Swap, at: Placement, *, grace_seconds: float) -> None:
    """End the container there, whether or not requests are held."""
    swap.driver(at.host).ensure_stopped(
        swap.operation.instance.public_id,
        fence=mapping.fence_of(at, swap.lease),
        grace_seconds=grace_seconds,
    )


def start(swap: Swap, at: Placement) -> None:
    """Start the new container while requests are held."""
    keep_held(swap, at)
    _run(swap, at)


def _run(swap: Swap, at: Placement) -> None:
    spec, fence = mapping.spec_of(swap.operation, at), mapping.fence_of(at, swap.lease)
    swap.driver(at.host).ensure_running(spec, fence=fence)


def let_in(swap: Swap) -> None:
    """Let requests go to the new container, and see it answer. Raises ShopSilentError."""
    let_go(swap)
    routing.look(swap)


def say_running(swap: Swap, reason: str) -> None:
    """Record that a shop that had failed runs again; part of a good end."""
    instance = swap.operation.instance
    if instance.state == InstanceState.FAILED:
        transitions.move(instance, InstanceState.PROVISIONING, reason=reason)
        transitions.move(instance, InstanceState.RUNNING, reason="answered through the edge")


def end_badly(swap: Swap, code: str, message: str, *, runs: bool) -> None:
    """Write the bad end, and what is known of the shop: whether it runs, and has its data."""
    instance = swap.operation.instance
    if swap.lacks_data and code != CancelledError.code:
        code = DataMissingError.code
    swap.end_badly(code, message)
    if code == DataMissingError.code or swap.lacks_data:
        missing_data.say(instance, reason=message)
    elif not runs and instance.state == InstanceState.RUNNING:
        # The next repair takes it from there.
        transitions.move(instance, InstanceState.FAILED, reason=message)


def let_go(swap: Swap) -> None:
    """Let requests go where the recorded route leads, on every edge that serves."""
    with swap.clock.part("route"):
        routing.open_route(swap)
    swap.clock.let_go()
    turns.give_back(swap.lease)


def release(swap: Swap, to: Placement) -> None:
    """Let held requests go back to where they came from, after what was not to be."""
    try:
        routing.lead_to(swap, to)
    finally:
        swap.clock.let_go()
    turns.give_back(swap.lease)


def run_again(swap: Swap, to: Placement) -> None:
    """Start the shop at its place again, and let requests go there; an undo. Notes whether it runs.

    Requests are let go also where the start is not confirmed: the shop may run all the same.
    """
    failed: Exception | None = None
    try:
        _run(swap, to)
    except RuntimeCoreError as error:
        failed = error
    try:
        release(swap, to)
    except (FlowError, RouteRefusedError) as error:
        failed = failed or error
    swap.is_down = failed is not None
    swap.lacks_data = isinstance(failed, DataMissingError)


def release_forgotten(swap: Swap, to: Placement) -> None:
    """Let requests go that somebody held who was killed before the stop: the shop still runs."""
    if swap.clock.held_since is None and routes.is_held(swap.operation.tenant):
        release(swap, to)


def await_quiet(value: str, clients: Clients, *, seconds: float) -> bool:
    """Wait until no edge has a request in flight to the route's value; whether that came true.

    An edge that does not say is one that may have some.
    """
    deadline = time.monotonic() + seconds
    pause = _LOOK_SECONDS
    while True:
        flight = clients.edges.in_flight(mapping.edges(), value)
        if flight.count == 0 and not flight.failures:
            return True
        if time.monotonic() + pause > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _wait_for_turn(swap: Swap, host_pk: int) -> None:
    """One swap at a time per host: shops held at once would wait for each other's starts.

    After a while without a turn it goes on: the turn is courtesy here, not safety. It ends with the hold, or
    with the attempt: a claim whose lease is over has none.
    """
    deadline = time.monotonic() + time_limits.TURN_SECONDS
    while not turns.take(swap.lease, host_pk) and time.monotonic() < deadline:
        time.sleep(_TURN_LOOK_SECONDS)
