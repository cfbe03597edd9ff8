"""The calls an edge answers: take in routes, say what it holds, fetch everything again."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.edge.edge import Edge, FullTable, Summary
from runtime.edge.routes import Route
from runtime.errors import SpecInvalidError
from runtime.wire import JsonValue, from_wire
from workers.agent.envelope import Envelope, answer
from workers.agent.messages import CallMessage, read

log = logging.getLogger(__name__)

Fetch = Callable[[float], FullTable]


@dataclass(frozen=True, slots=True)
class _Nothing:
    pass


@dataclass(frozen=True, slots=True)
class _Apply:
    routes: tuple[Route, ...]


class EdgeCalls:
    """Answers calls with an Edge. fetch gets the whole table within a number of seconds. Thread-safe."""

    def __init__(self, edge: Edge, *, fetch: Fetch) -> None:
        self._edge = edge
        self._fetch = fetch
        self._verbs: dict[str, Callable[[CallMessage], JsonValue]] = {
            "apply": self._apply,
            "digest": self._digest,
            "resync": self._resync,
        }

    def call(self, message: object) -> Envelope:
        """Carry out one message from the queue; errors are answers too."""
        began = time.monotonic()
        name = str(message.get("call"))[:40] if isinstance(message, dict) else "?"
        envelope = answer(lambda: self._dispatch(read(message)), what=f"edge.call {name}")
        taken = (time.monotonic() - began) * 1000
        log.info("edge.call %s %s %.1f ms", name, "ok" if envelope["ok"] else "refused", taken)
        return envelope

    def _dispatch(self, call: CallMessage) -> JsonValue:
        verb = self._verbs.get(call.name)
        if verb is None:
            known = ", ".join(self._verbs)
            raise SpecInvalidError(
                f"call is {call.name!r}; it must be one of {known}", field="call"
            )
        return verb(call)

    def _apply(self, call: CallMessage) -> JsonValue:
        routes = from_wire(_Apply, call.args).routes
        known_up_to = self._edge.apply(routes)
        # What this call brought is served now; `applied` may lag behind it while an older one is missing.
        return {
            "sequence": max((route.sequence for route in routes), default=known_up_to),
            "applied": known_up_to,
        }

    def _digest(self, call: CallMessage) -> JsonValue:
        from_wire(_Nothing, call.args)
        return _told(self._edge.summary())

    def _resync(self, call: CallMessage) -> JsonValue:
        from_wire(_Nothing, call.args)
        return _told(self._edge.resync(lambda: self._fetch(call.run_limit)))


def _told(summary: Summary) -> JsonValue:
    return {"sequence": summary.sequence, "digest": summary.digest, "count": summary.count}
