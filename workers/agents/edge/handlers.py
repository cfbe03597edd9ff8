"""The calls an edge answers: take in routes, count requests, say what it holds, fetch it all again."""

from collections.abc import Callable

from runtime.edge.edge import FullTable, HaproxyEdge
from workers.agents.common.dispatch import Calls
from workers.agents.common.messages import CallMessage
from workers.agents.common.methods import Args, Method
from workers.agents.edge.methods import (
    OF_EDGES,
    RESYNC,
    Applied,
    Apply,
    CountInFlight,
    ProbeHosts,
    Reached,
)

PROBE_SECONDS = 1.0

Fetch = Callable[[float], FullTable]


class EdgeCalls(Calls):
    """Answers calls with an Edge. fetch gets the whole table within a number of seconds. Thread-safe."""

    def __init__(self, edge: HaproxyEdge, *, fetch: Fetch) -> None:
        super().__init__("edge.call", OF_EDGES)
        self._edge = edge
        self._fetch = fetch

    def _carry_out(self, method: Method[Args, object], args: Args, call: CallMessage) -> object:
        if isinstance(args, Apply):
            return self._apply(args)
        if isinstance(args, CountInFlight):
            return self._edge.in_flight(args.values)
        if isinstance(args, ProbeHosts):
            # Half of the time is the answer's: one that comes too late says nothing.
            seconds = min(PROBE_SECONDS, call.run_limit / 2)
            return Reached(tuple(self._edge.reached(args.places, seconds=seconds)))
        if method is RESYNC:
            return self._edge.resync(lambda: self._fetch(call.run_limit))
        return self._edge.summary()

    def _apply(self, args: Apply) -> Applied:
        known_up_to = self._edge.apply(args.routes)
        # What this call brought is served now; `applied` may lag behind it while an older one is missing.
        sequence = max((route.sequence for route in args.routes), default=known_up_to)
        return Applied(sequence, known_up_to)
