"""A connection that waits for its other side only as long as that one deserves.

Patience is a purse of seconds: waiting takes out of it, and bytes that move put back, up to its size. Who
sends or reads less than LEAST_RATE uses it up, however cleverly the bytes are spread. What cannot be sent
at once is kept in memory and sent by the worker's loop, so that a thread is free as soon as its answer is
made. All answers together keep a bounded amount; beyond it, the one kept longest is dropped.
"""

import errno
import select
import socket
import ssl
import time
from contextlib import suppress
from threading import Lock

PATIENCE_SECONDS = 15.0
LEAST_RATE = 8 * 1024  # bytes a second
MOST_KEPT_EACH = 2 * 1024**2
MOST_KEPT_TOGETHER = 48 * 1024**2

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class KeptAnswers:
    """What all answers of this process keep, and which keeps its own the longest."""

    def __init__(self, most: int = MOST_KEPT_TOGETHER) -> None:
        self._most = most
        self._lock = Lock()
        self._of: dict[Wire, int] = {}

    def set(self, wire: "Wire", size: int) -> None:
        """Note how much a wire keeps; give up the oldest others when that is too much for all."""
        with self._lock:
            if size:
                self._of[wire] = size
            else:
                self._of.pop(wire, None)
            while sum(self._of.values()) > self._most and len(self._of) > 1:
                oldest = next(iter(self._of))
                del self._of[oldest]
                oldest.give_up()


_kept = KeptAnswers()


class Wire:
    """Stands in for a socket, plain or TLS, where gunicorn uses one."""

    def __init__(self, connected: socket.socket, *, kept: KeptAnswers = _kept) -> None:
        connected.setblocking(False)
        self.socket = connected
        self._kept = kept
        self._patience = PATIENCE_SECONDS
        self._timeout: float | None = None
        self._rest = bytearray()  # of the answer
        self._sent = 0
        self.is_given_up = False

    # --- what a thread does ---------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """Some bytes, b"" at the end. Raises ConnectionResetError when patience ends."""
        while True:
            try:
                piece = self.socket.recv(size)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
            except _NOT_NOW:
                self._wait(select.POLLIN)
            else:
                self._earn(len(piece))
                return piece

    def sendall(self, data: bytes | memoryview) -> None:
        """Send it or keep it. Raises ConnectionResetError when patience ends."""
        view = memoryview(data)
        while view and not self._rest:
            try:
                sent = self.socket.send(view)
            except _NOT_NOW:
                break
            self._earn(sent)
            view = view[sent:]
        while view and self.keeps + len(view) > MOST_KEPT_EACH:
            self._wait(select.POLLOUT)
            self.flush()
            if not self._rest:
                return self.sendall(view)
        if view:
            self._rest += view
            self._kept.set(self, self.keeps)
        return None

    def send(self, data: bytes) -> int:
        """Send everything, as sendall; the caller need not know how much is kept."""
        self.sendall(data)
        return len(data)

    # --- what the worker's loop does ------------------------------------------------------------

    def handshake(self) -> int | None:
        """Go on with TLS's handshake; what to poll for, or None when it is done."""
        if not isinstance(self.socket, ssl.SSLSocket):
            return None
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return select.POLLIN
        except ssl.SSLWantWriteError:
            return select.POLLOUT
        return None

    @property
    def keeps(self) -> int:
        """Return how many bytes of an answer are not sent yet."""
        return len(self._rest) - self._sent

    def flush(self) -> bool:
        """Send what the network takes just now; whether all is sent. Raises OSError."""
        while self._sent < len(self._rest):
            try:
                # The same bytes again after a full buffer, as TLS wants it.
                with memoryview(self._rest) as view, view[self._sent :] as rest:
                    sent = self.socket.send(rest)
            except _NOT_NOW:
                self._kept.set(self, self.keeps)
                return False
            self._earn(sent)
            self._sent += sent
        self._rest, self._sent = bytearray(), 0
        self._kept.set(self, 0)
        return True

    def has_more(self) -> bool:
        """Return whether TLS has bytes that no poll would tell of."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def begin(self, patience: float = PATIENCE_SECONDS) -> None:
        """A new request, a new purse; with none, only what has come already is read."""
        self._patience = patience

    @property
    def patience(self) -> float:
        """Return how many seconds the answer may still wait."""
        return self._patience

    def give_up(self) -> None:
        """Let every wait for it end at once, from any thread."""
        self.is_given_up = True
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    # --- as a socket ----------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor, for polls."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close it; what it keeps is dropped."""
        self._kept.set(self, 0)
        self.socket.close()

    def shutdown(self, how: int) -> None:
        """See socket."""
        # An SSLSocket's own would go on in the clear.
        socket.socket.shutdown(self.socket, how)

    def setblocking(self, flag: bool) -> None:
        """Nothing: it waits by its own rules."""

    def settimeout(self, seconds: float | None) -> None:
        """Wait no longer than that at a time."""
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        """See socket."""
        return self._timeout

    def _wait(self, what: int) -> None:
        began = time.monotonic()
        most = self._patience if self._timeout is None else min(self._patience, self._timeout)
        poll = select.poll()
        poll.register(self.socket, what)
        is_ready = most > 0 and poll.poll(most * 1000)
        self._patience -= time.monotonic() - began
        if is_ready:
            return
        if self._timeout is not None:
            raise TimeoutError
        self.is_given_up = True
        # What gunicorn takes as a client that went away: it ends the request and says no more of it.
        raise ConnectionResetError(errno.ECONNRESET, "the other side is too slow")

    def _earn(self, moved: int) -> None:
        self._patience = min(PATIENCE_SECONDS, self._patience + moved / LEAST_RATE)
