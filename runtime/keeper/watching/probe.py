"""The host's probe port: a program that can connect to it knows that this machine is up and reachable.

Control asks edges to try it before it believes a silent host to be lost (docs/decisions/0021). It is
the keeper's, because the keeper outlives the agent: an agent that is restarted, or stuck, leaves the
port open; a machine that is gone, or was killed altogether, does not. The kernel accepts for us, so
even a keeper that is very busy is alive to a probe. Nothing is read and nothing is said.
"""

import contextlib
import socket

from runtime.config import HostConfig
from runtime.keeper.loop import Loop
from runtime.keeper.processes import say

AGAIN_SECONDS = 5.0
_AT_ONCE = 64
# Binds before the address is there: it may be put back a moment later (network_watch.py).
_IP_FREEBIND = 15


class Probe:
    """Listens on the host's own address, tries again while it cannot. No tenant can reach it."""

    def __init__(self, loop: Loop, config: HostConfig) -> None:
        self._loop = loop
        self._place = (str(config.edge_address), config.probe_port)
        self._socket: socket.socket | None = None
        self._said = ""

    def open(self) -> None:
        """Begin to listen, now or as soon as the port is free."""
        try:
            self._socket = _listening(self._place)
        except OSError as error:
            self._say(f"the probe port {self._place[1]} cannot be opened: {error.strerror}")
            self._loop.after(AGAIN_SECONDS, self.open)
            return
        if self._said:
            self._say("the probe port is open")
        self._loop.watch(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Give the port up."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _accept(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            for _ in range(_AT_ONCE):  # a flood of probes must not keep the keeper from its work
                self._socket.accept()[0].close()

    def _say(self, what: str) -> None:
        if what != self._said:
            say(what)
        self._said = what


def _listening(place: tuple[str, int]) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        listening.bind(place)
        listening.listen(_AT_ONCE)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
