"""The methods of an edge: what control may ask its agent for. See common/methods.py."""

from dataclasses import dataclass

from runtime.edge.edge import Summary
from runtime.edge.probe import ProbeTarget
from runtime.edge.routes import EdgeRoute
from workers.agents.common.methods import Args, Method, always, table

# See host/methods.py about tenants/operations/time_limits.py.
EDGE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Apply(Args):
    """Take in changes of routes."""

    routes: tuple[EdgeRoute, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """sequence: of the last change of the call, served now. applied: up to where none is missing."""

    sequence: int
    applied: int


@dataclass(frozen=True, slots=True)
class CountInFlight(Args):
    """How many requests are handed to each of these values and not finished."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeHosts(Args):
    """Which of these places can be connected to."""

    places: tuple[ProbeTarget, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """The hosts that could be connected to."""

    reached: tuple[str, ...]


APPLY = Method("apply", Apply, Applied, always(EDGE_SECONDS))
IN_FLIGHT = Method("in_flight", CountInFlight, dict[str, int], always(EDGE_SECONDS))
PROBE = Method("probe", ProbeHosts, Reached, always(EDGE_SECONDS))
DIGEST = Method("digest", Args, Summary, always(EDGE_SECONDS))
RESYNC = Method("resync", Args, Summary, always(EDGE_SECONDS))

OF_EDGES = table(APPLY, DIGEST, RESYNC, IN_FLIGHT, PROBE)
