"""What flows act with: drivers of hosts, the edges, and a look at a shop from outside.

A flow gets them handed in, so that its tests run the same flow on drivers that live in memory.
"""

import http.client
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from django.conf import settings

from runtime.driver import Driver
from tenants.pool.models import Host
from workers.rpc import client, drivers
from workers.rpc.edge_types import EdgeSeat, InFlight, RouteMessage, Spread

LOOK_SECONDS = 1.0


class Edges(Protocol):
    """Whoever tells edges about routes and asks them about requests."""

    def apply(self, edges: Collection[EdgeSeat], routes: Sequence[RouteMessage]) -> Spread:
        """Send the changes to every live edge; which took them, and what failed at ready ones."""
        ...

    def in_flight(self, edges: Collection[EdgeSeat], value: str) -> InFlight:
        """Return how many requests the ready edges have handed to a route's value and not finished yet."""
        ...


@dataclass(frozen=True, slots=True)
class Clients:
    """driver_for: the driver of a host. look: the status an edge answers for (edge, hostname, path).

    outage: why calls made since a moment of this process's clock may have met no broker, or "".
    """

    driver_for: Callable[[Host], Driver]
    edges: Edges
    look: Callable[[EdgeSeat, str, str], int]
    outage: Callable[[float], str] = lambda _: ""


@lru_cache(maxsize=1)
def real() -> Clients:
    """Clients that reach real hosts and edges over this process's broker."""
    caller = client.caller(settings.STOA_BROKER_URL)

    def driver_for(host: Host) -> Driver:
        return drivers.for_host(caller, name=host.name, engine=host.engine)

    return Clients(
        driver_for=driver_for,
        edges=drivers.EdgeClient(caller),
        look=look,
        outage=caller.outage_since,
    )


def look(edge: EdgeSeat, hostname: str, path: str) -> int:
    """Ask the edge for the shop as a browser would; the HTTP status, or 0 when there was no answer."""
    place = urlsplit(edge.check_url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    wire = kind(place.hostname or "", place.port, timeout=LOOK_SECONDS)
    try:
        wire.request("GET", path, headers={"Host": hostname, "Connection": "close"})
        return wire.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        wire.close()
