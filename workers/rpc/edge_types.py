"""Edges and what is sent to them, as values: between the database and the code that carries the message."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RouteMessage:
    """A route as edges take it; value "" withdraws. version repeats sequence for older agents."""

    hostname: str
    value: str
    version: int
    sequence: int


@dataclass(frozen=True, slots=True)
class EdgeSeat:
    """A registered edge at this moment.

    is_live: heard in the last seconds. is_ready: live and its map in step, so it serves requests.
    applied_sequence: the number of the route change up to which it has reported to hold all.
    """

    name: str
    check_url: str
    is_live: bool
    is_ready: bool
    applied_sequence: int = 0


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests that edges have handed to an address and that are not answered yet; held ones do not
    count. failures: ready edges that did not say, whose requests are therefore unknown.
    """

    count: int
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Which edges took a change, and what went wrong at the ready ones that did not.

    refused: those of the failures in which an edge said that it cannot serve the route.
    """

    acknowledged: frozenset[str]
    failures: tuple[str, ...]
    refused: tuple[str, ...] = ()
