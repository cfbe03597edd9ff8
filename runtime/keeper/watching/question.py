"""One question to a container, as a visitor would ask it, that never makes the keeper wait."""

import errno
import selectors
import socket
import time
from collections.abc import Callable
from enum import StrEnum

from runtime.keeper.loop import Loop
from runtime.keeper.watching.incoming import Incoming
from runtime.specs import InstanceSpec

_READ_BYTES = 16 * 1024
# A long page that still comes is an answer; one of which nothing came for so long is not.
_PAUSE_SECONDS = 4.0
_NO_WAY = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)


class Answer(StrEnum):
    """What came of it. Any whole answer counts, an error page too: the program is there."""

    GIVEN = "given"
    NO_WAY = "no way"  # the network does not lead there
    REFUSED = "refused"
    NOT_TAKEN = "not taken"  # nobody took the connection in time
    SILENT = "silent"  # taken, and nothing said
    HALF = "half"  # an answer that began and does not go on
    CLOSED = "closed"  # hung up on before any answer


class Question:
    """Begun when made. answered: called once with the answer, unless the question is dropped before."""

    def __init__(
        self,
        loop: Loop,
        address: str,
        port: int,
        request: bytes,
        answered: Callable[[Answer], None],
    ) -> None:
        self._loop = loop
        self._request = request
        self._answered = answered
        self._is_taken = False
        self._incoming = Incoming()
        self._came_at = 0.0
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        code = self._socket.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS):
            self._end(_meaning(code))
            return
        loop.watch(self._socket.fileno(), self._connected, events=selectors.EVENT_WRITE)

    def late(self) -> None:
        """Its time is over."""
        if not self._is_taken:
            self._end(Answer.NOT_TAKEN)
        elif not self._came_at:
            self._end(Answer.SILENT)
        elif self._incoming.has_head and time.monotonic() - self._came_at < _PAUSE_SECONDS:
            self._end(Answer.GIVEN)
        else:
            self._end(Answer.HALF)

    def drop(self) -> None:
        """Close the question without an answer; no-op if it was answered."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _connected(self) -> None:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(_meaning(code))
            return
        self._is_taken = True
        try:
            self._socket.send(self._request)
        except OSError:
            self._end(Answer.CLOSED)
            return
        self._loop.watch(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            piece = self._socket.recv(_READ_BYTES)
        except OSError:
            piece = b""
        if not piece:
            self._end(Answer.GIVEN if self._incoming.has_head else Answer.CLOSED)
            return
        self._came_at = time.monotonic()
        if self._incoming.take(piece):
            self._end(Answer.GIVEN)

    def _end(self, answer: Answer) -> None:
        if self._socket.fileno() >= 0:
            self.drop()
            self._answered(answer)


def request_of(spec: InstanceSpec) -> bytes:
    """Return the question: the release's health path or the front page, at the shop's own address."""
    url = dict(spec.env).get("STOA_PUBLIC_URL", "")
    scheme, _, rest = url.partition("://")
    host = rest.split("/", 1)[0] or spec.tenant
    head = f"GET {spec.health_path or '/'} HTTP/1.1\r\nHost: {host}\r\n"
    if scheme in ("http", "https"):
        head += f"X-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {host}\r\n"
    return f"{head}User-Agent: stoa-health\r\nConnection: close\r\n\r\n".encode()


def _meaning(code: int) -> Answer:
    if code in _NO_WAY:
        return Answer.NO_WAY
    return Answer.NOT_TAKEN if code == errno.ETIMEDOUT else Answer.REFUSED


def words(answer: Answer, port: int, request: bytes, seconds: float) -> str:
    """Return the answer as people read it."""
    path = request.split(b" ", 2)[1].decode()
    return {
        Answer.GIVEN: "it answers",
        Answer.NO_WAY: "no route leads to it",
        Answer.REFUSED: f"it refuses connections on port {port}",
        Answer.NOT_TAKEN: f"it takes no connection on port {port} within {seconds:g} s",
        Answer.SILENT: f"it gives no answer to GET {path} within {seconds:g} s",
        Answer.HALF: f"it begins an answer to GET {path} and does not go on within {seconds:g} s",
        Answer.CLOSED: f"it closes the connection without an answer to GET {path}",
    }[answer]
