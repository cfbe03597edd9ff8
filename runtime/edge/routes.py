"""Which hostname leads where: the table an edge keeps, without any acting.

A route carries a version per hostname; lower ones are ignored, so calls may arrive in any order. It also
carries the sequence number of the change in the whole system, so that a gap shows a missed change.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Address

from runtime.edge.config import EdgeConfig
from runtime.errors import SpecInvalidError

HOLD = "hold"

_HOSTNAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){0,10}")
_VALUE = re.compile(
    r"(?P<tenant>[a-z0-9_-]{1,48})@(?:(?P<ip>[0-9.]{7,15}):(?P<port>[0-9]{1,5})|hold|asleep)"
)


@dataclass(frozen=True, slots=True)
class EdgeRoute:
    """One hostname's route. value: `<tenant>@<ip>:<port>`, `<tenant>@hold`, `<tenant>@asleep`; "" = none."""

    hostname: str
    value: str
    version: int
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class MapChanges:
    """What has to be done to HAProxy's map: new keys, keys with another value, keys to take out."""

    add: tuple[tuple[str, str], ...] = ()
    change: tuple[tuple[str, str], ...] = ()
    delete: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.add) + len(self.change) + len(self.delete)


def check_route(route: EdgeRoute, config: EdgeConfig) -> EdgeRoute:
    """Return the route when this edge can serve it, else raise SpecInvalidError."""
    if not _HOSTNAME.fullmatch(route.hostname):
        raise _wrong("hostname", route.hostname, "a lower-case DNS name without port or final dot")
    if route.hostname == config.console_host:
        raise _wrong("hostname", route.hostname, "another name than the platform's own pages have")
    _check_numbers(route)
    if route.value:
        check_value(route.value, config)
    return route


def _check_numbers(route: EdgeRoute) -> None:
    for name, number in (("version", route.version), ("sequence", route.sequence)):
        if type(number) is not int or number < 0:
            raise _wrong(name, number, "a whole number, 0 or more")


def sort_out(
    routes: Iterable[EdgeRoute], config: EdgeConfig
) -> tuple[list[EdgeRoute], dict[str, SpecInvalidError]]:
    """Return the routes with those withdrawn that this edge cannot serve, and why it cannot, by hostname.

    One wrong route never keeps others out, and never leads on to where its hostname led before. Raises
    SpecInvalidError for a number that no edge could put in order.
    """
    taken, refused = [], {}
    for route in routes:
        _check_numbers(route)
        try:
            taken.append(check_route(route, config))
        except SpecInvalidError as error:
            taken.append(replace(route, value=""))
            refused[route.hostname] = error
    return taken, refused


def check_value(value: str, config: EdgeConfig) -> None:
    """Refuse a route's value that this edge cannot serve (SpecInvalidError)."""
    parts = _VALUE.fullmatch(value)
    if not parts:
        raise _wrong("value", value, "<tenant>@<ip>:<port>, <tenant>@hold or <tenant>@asleep")
    if parts["ip"] and not _leads_to_a_host(parts["ip"], int(parts["port"]), config):
        nets = ", ".join(map(str, config.networks))
        right = f"an address within {nets} and a port from {config.ports[0]} to {config.ports[-1]}"
        raise _wrong("value", value, right)


def is_held(value: str) -> bool:
    """Return whether requests for this value wait at the edge."""
    return value.endswith(f"@{HOLD}")


class RouteTable:
    """All routes by hostname, withdrawn ones included until the next full table. Not thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[str, EdgeRoute] = {}
        self._live = 0
        self._ahead: set[int] = set()  # sequences seen above `sequence`, with a gap below them
        self._since_asked: dict[str, EdgeRoute] | None = (
            None  # a dict while a full table is fetched
        )
        self.sequence = 0  # every change up to this one is in the table

    @property
    def has_gap(self) -> bool:
        """Return whether a change is known to be missing."""
        return bool(self._ahead)

    def __len__(self) -> int:
        return self._live

    def get(self, hostname: str) -> str:
        """Return the value of a hostname; "" when there is none."""
        entry = self._entries.get(hostname)
        return entry.value if entry else ""

    def entries(self) -> tuple[EdgeRoute, ...]:
        """Everything, withdrawn routes included, in no order."""
        return tuple(self._entries.values())

    def wanted(self) -> dict[str, str]:
        """Return the entries that HAProxy's map should hold."""
        return {entry.hostname: entry.value for entry in self._entries.values() if entry.value}

    def digest(self) -> str:
        """SHA-256 over `<hostname> <value> <version>` lines of the live routes, sorted by hostname."""
        return digest(entry for entry in self._entries.values() if entry.value)

    def apply(self, routes: Iterable[EdgeRoute]) -> MapChanges:
        """Take in changes; returns what they change in the map. Lower versions change nothing."""
        before: dict[str, str] = {}
        for route in routes:
            self._saw(route.sequence)
            known = self._entries.get(route.hostname)
            if known and (route.version, route.sequence) <= (known.version, known.sequence):
                continue
            before.setdefault(route.hostname, known.value if known else "")
            self._put(route, known)
        return self._changes_since(before)

    def expect_replacement(self) -> None:
        """Begin to note what arrives, because a full table is being fetched: call before asking for it."""
        self._since_asked = {}

    def replace(self, routes: Iterable[EdgeRoute], *, sequence: int) -> MapChanges:
        """Take a full table as it was at `sequence`; returns what that changes in the map.

        What arrived while it was fetched and is newer than it stays. All else gives way, even with
        a higher sequence: the control plane's record is the truth, also one restored from a backup.
        """
        old = self.wanted()
        arrived = self._since_asked or {}
        newer = {h: r for h, r in arrived.items() if r.sequence > sequence}
        self._since_asked = None
        self._entries = {route.hostname: route for route in routes} | newer
        self._live = sum(1 for entry in self._entries.values() if entry.value)
        self.sequence = sequence
        self._ahead = {route.sequence for route in newer.values()}
        self._close_gap()
        return diff(self.wanted(), old.items())

    def restore(self, routes: Iterable[EdgeRoute], *, sequence: int) -> None:
        """Begin with what was kept on disk."""
        self._entries = {route.hostname: route for route in routes}
        self._live = sum(1 for entry in self._entries.values() if entry.value)
        self.sequence = sequence

    def _put(self, route: EdgeRoute, known: EdgeRoute | None) -> None:
        self._live += bool(route.value) - bool(known and known.value)
        self._entries[route.hostname] = route
        if self._since_asked is not None:
            self._since_asked[route.hostname] = route

    def _changes_since(self, before: Mapping[str, str]) -> MapChanges:
        add, change, delete = [], [], []
        for hostname, old in before.items():
            new = self.get(hostname)
            if new and not old:
                add.append((hostname, new))
            elif old and not new:
                delete.append(hostname)
            elif new != old:
                change.append((hostname, new))
        return MapChanges(tuple(add), tuple(change), tuple(delete))

    def _saw(self, sequence: int) -> None:
        if sequence > self.sequence:
            self._ahead.add(sequence)
            self._close_gap()

    def _close_gap(self) -> None:
        while self.sequence + 1 in self._ahead:
            self.sequence += 1
            self._ahead.remove(self.sequence)


def digest(routes: Iterable[EdgeRoute]) -> str:
    """SHA-256 in hexadecimal over `<hostname> <value> <version>` lines, sorted by hostname."""
    lines = sorted((r.hostname, f"{r.hostname} {r.value} {r.version}") for r in routes)
    return sha256("\n".join(line for _, line in lines).encode()).hexdigest()


def diff(wanted: Mapping[str, str], actual: Iterable[tuple[str, str]]) -> MapChanges:
    """Return the changes that turn the map `actual` (a key may stand in it twice) into `wanted`."""
    have: dict[str, str] = {}
    doubled: set[str] = set()
    for key, value in actual:
        if key in have:
            doubled.add(key)
        have[key] = value
    delete = tuple(key for key in have if key not in wanted or key in doubled)
    add = tuple((k, v) for k, v in wanted.items() if k not in have or k in doubled)
    change = tuple(
        (key, value)
        for key, value in wanted.items()
        if key in have and key not in doubled and have[key] != value
    )
    return MapChanges(add, change, delete)


def _leads_to_a_host(ip: str, port: int, config: EdgeConfig) -> bool:
    try:
        return config.leads_to_a_host(IPv4Address(ip), port)
    except ValueError:
        return False


def _wrong(name: str, value: object, right: str) -> SpecInvalidError:
    return SpecInvalidError(f"route {name} is {value!r}; it must be {right}", field=name)
