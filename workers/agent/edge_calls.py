"""The calls an edge answers: take in routes, count requests, say what it holds, fetch it all again."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.edge.edge import Edge, FullTable, Summary
from runtime.edge.probe import Place
from runtime.edge.routes import Route
from runtime.wire import JsonValue, from_wire
from workers.agent.messages import CallMessage
from workers.agent.verbs import Calls

PROBE_SECONDS = 1.0

Fetch = Callable[[float], FullTable]


@dataclass(frozen=True, slots=True)
class _Nothing:
    pass


@dataclass(frozen=True, slots=True)
class _Apply:
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class _InFlight:
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Probe:
    places: tuple[Place, ...]


class EdgeCalls(Calls):
    """Answers calls with an Edge. fetch gets the whole table within a number of seconds. Thread-safe."""

    def __init__(self, edge: Edge, *, fetch: Fetch) -> None:
        self._edge = edge
        self._fetch = fetch
        super().__init__(
            "edge.call",
            {
                "apply": self._apply,
                "digest": self._digest,
                "resync": self._resync,
                "in_flight": self._in_flight,
                "probe": self._probe,
            },
        )

    def _apply(self, call: CallMessage) -> JsonValue:
        routes = from_wire(_Apply, call.args).routes
        known_up_to = self._edge.apply(routes)
        # What this call brought is served now; `applied` may lag behind it while an older one is missing.
        return {
            "sequence": max((route.sequence for route in routes), default=known_up_to),
            "applied": known_up_to,
        }

    def _in_flight(self, call: CallMessage) -> JsonValue:
        return dict(self._edge.in_flight(from_wire(_InFlight, call.args).values))

    def _digest(self, call: CallMessage) -> JsonValue:
        from_wire(_Nothing, call.args)
        return _told(self._edge.summary())

    def _resync(self, call: CallMessage) -> JsonValue:
        from_wire(_Nothing, call.args)
        return _told(self._edge.resync(lambda: self._fetch(call.run_limit)))

    def _probe(self, call: CallMessage) -> JsonValue:
        # Half of the time is the answer's: one that comes too late says nothing.
        seconds = min(PROBE_SECONDS, call.run_limit / 2)
        places = from_wire(_Probe, call.args).places
        return {"reached": [*self._edge.reached(places, seconds=seconds)]}


def _told(summary: Summary) -> JsonValue:
    return {"sequence": summary.sequence, "digest": summary.digest, "count": summary.count}
