"""Whether hosts can be reached from this edge: one connection to each host's probe port, all at once."""

import errno
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from runtime.edge.config import EdgeConfig
from runtime.errors import SpecInvalidError

MOST_PLACES = 256
_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK}


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A host's probe port."""

    host: str
    address: str
    port: int


def check_places(places: Sequence[ProbeTarget], config: EdgeConfig) -> None:
    """Refuse what is no host's (SpecInvalidError): an edge connects nowhere else."""
    if len(places) > MOST_PLACES:
        raise SpecInvalidError(
            f"{len(places)} places to probe; ask for at most {MOST_PLACES} at once", field="places"
        )
    for place in places:
        try:
            address = IPv4Address(place.address)
        except ValueError as error:
            raise SpecInvalidError(f"places: {error}", field="places") from error
        if not any(address in network for network in config.networks):
            nets = ", ".join(map(str, config.networks))
            raise SpecInvalidError(
                f"address of {place.host} is {address}; hosts' addresses are within {nets}",
                field="places",
            )
        if not 1 <= place.port <= 65535:
            raise SpecInvalidError(f"port is {place.port}; it must be 1 to 65535", field="places")


def reachable(places: Sequence[ProbeTarget], *, seconds: float) -> tuple[str, ...]:
    """Return the hosts that took a connection within the seconds, in the order they were named."""
    open_ones: set[str] = set()
    with selectors.DefaultSelector() as selector:
        try:
            for place in places:
                _begin(selector, place, open_ones)
            _wait(selector, time.monotonic() + seconds, open_ones)
        finally:
            for key in list(selector.get_map().values()):
                _close(key.fileobj)
    return tuple(place.host for place in places if place.host in open_ones)


def _begin(selector: selectors.BaseSelector, place: ProbeTarget, open_ones: set[str]) -> None:
    attempt = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    attempt.setblocking(False)
    code = attempt.connect_ex((place.address, place.port))
    if code in _UNDER_WAY:
        selector.register(attempt, selectors.EVENT_WRITE, place.host)
        return
    if code == 0:
        open_ones.add(place.host)
    attempt.close()


def _wait(selector: selectors.BaseSelector, deadline: float, open_ones: set[str]) -> None:
    while selector.get_map() and (left := deadline - time.monotonic()) > 0:
        for key, _events in selector.select(left):
            attempt = key.fileobj
            selector.unregister(attempt)
            if isinstance(attempt, socket.socket):
                if attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    open_ones.add(key.data)
                attempt.close()


def _close(attempt: object) -> None:
    if isinstance(attempt, socket.socket):
        attempt.close()
