"""Gunicorn's threaded worker, in which slow clients wait in the loop and not in threads.

The loop itself shakes hands (TLS), collects the head and a small body of every request, sends what remains
of an answer, and waits for clients to close. A thread begins with a whole request and ends with its answer.
So slow connections cost memory alone, and when there are nearly worker_connections of them, the one that has
been waited for longest is dropped for the newest.
"""

import select
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn import http, sock
from gunicorn.workers.gthread import TConn, ThreadWorker

from controlplane.serving.arrival import Arrival, ArrivalState
from controlplane.serving.wire import Wire

HEAD_SECONDS = (
    10.0  # from connecting, or from the first byte on a kept connection, to the whole head
)
BODY_SECONDS = 15.0  # more, for a small body
LEAVE_SECONDS = 2.0  # for the other side to read the last bytes and close
MOST_DRAINED = 4 * 1024**2  # of a refused body, so that its sender reads the answer
SPARE = 100  # of worker_connections: requests in threads are never dropped
_PIECE = 16 * 1024
_IN, _OUT = selectors.EVENT_READ, selectors.EVENT_WRITE
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 52\r\n\r\n"
    b"The request's head is larger than the 44 KiB it may\n"
)
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError)


class HttpConnection(TConn):  # type: ignore[misc]
    """A connection and where it stands."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.initialized = self.data_ready = True  # a thread finds its request in memory
        self.arrival = Arrival()
        self.has_shaken_hands = False
        self.waits_until = 0.0
        self.stays = False
        self.is_closed = False
        self.drained = 0


class DoorWorker(ThreadWorker):  # type: ignore[misc]
    """See above. Used by web and depot: gunicorn --worker-class controlplane.serving.worker.DoorWorker."""

    def __init__(self, *about: Any, **named: Any) -> None:
        super().__init__(*about, **named)
        # Who is waited for by the loop, in the order they began.
        self._waiting: dict[HttpConnection, None] = {}
        self._crowd = max(1, self.worker_connections - SPARE)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection into the loop."""
        try:
            client, address = listener.accept()
        except OSError:
            return  # somebody else took it, or it has gone, or there are too many files for now
        if self.nr_conns >= self._crowd:
            self._drop_one()
        self.nr_conns += 1
        conn = HttpConnection(self.cfg, client, address, listener.getsockname())
        try:
            if self.cfg.is_ssl:
                conn.sock = sock.ssl_wrap_socket(client, self.cfg)
            conn.sock = Wire(conn.sock)
            conn.parser = http.get_parser(self.cfg, conn.sock, address)
        except OSError:
            self._close(conn)
            return
        self.enqueue_req(conn)

    def enqueue_req(self, conn: HttpConnection) -> None:
        """Wait for a request on it: gunicorn calls this wherever one may begin."""
        conn.arrival = Arrival()
        conn.waits_until = time.monotonic() + HEAD_SECONDS
        self._guarded(conn, self._arrive, conn.parser.unreader.take_buffered())

    def finish_request(self, conn: HttpConnection, done: "Future[Any]") -> None:
        """A thread has made its answer: send the rest of it, then wait for the next, or leave."""
        if conn.sock.is_given_up:
            self._close(conn)
            return
        conn.sock.begin()
        failed = done.cancelled() or done.exception() is not None
        conn.stays = not failed and bool(done.result())
        conn.waits_until = time.monotonic() + conn.sock.patience
        self._guarded(conn, self._flush)

    def murder_pending(self) -> None:
        """Close those that took too long (gunicorn calls this each second)."""
        now = time.monotonic()
        for conn in [waiting for waiting in self._waiting if waiting.waits_until <= now]:
            self._close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self._waiting:
            conn.waits_until = min(conn.waits_until, deadline)

    def _keepalive_after(self, conn: HttpConnection, keepalive: bool) -> bool:
        # Called by a thread: what of the body has not come by now is not waited for.
        conn.sock.begin(patience=0)
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + 1))

    # --- where a connection stands; all of it happens in the loop ---------------------------------

    def _arrive(self, conn: HttpConnection, early: bytes = b"") -> None:
        if not conn.has_shaken_hands:
            more = conn.sock.handshake()
            if more is not None:
                self._wait(conn, _OUT if more == select.POLLOUT else _IN, self._arrive)
                return
            conn.has_shaken_hands = True
        state = conn.arrival.feed(early) if early else conn.arrival.state
        while state in (ArrivalState.HEAD, ArrivalState.BODY):
            try:
                piece = conn.sock.socket.recv(_PIECE)
            except _NOT_NOW:
                self._wait(conn, _IN, self._arrive)
                return
            if not piece:
                self._close(conn)
                return
            before, state = state, conn.arrival.feed(piece)
            if before is ArrivalState.HEAD and state is not ArrivalState.HEAD:
                self._head_came(conn)
        self._forget(conn)
        if state is ArrivalState.TOO_LARGE:
            conn.stays = False
            conn.sock.sendall(_HEAD_TOO_LARGE)
            self._flush(conn)
            return
        conn.parser.unreader.unread(bytes(conn.arrival.data))
        conn.arrival = Arrival()
        conn.sock.begin()
        super().enqueue_req(conn)

    def _head_came(self, conn: HttpConnection) -> None:
        conn.waits_until = time.monotonic() + BODY_SECONDS
        if conn.arrival.wants_continue:
            conn.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _flush(self, conn: HttpConnection) -> None:
        if not conn.sock.flush():
            conn.waits_until = time.monotonic() + conn.sock.patience
            self._wait(conn, _OUT, self._flush)
            return
        self._forget(conn)
        if not conn.stays:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.waits_until = time.monotonic() + LEAVE_SECONDS
            self._leave(conn)
        elif conn.sock.has_more() or conn.parser.unreader.buf.getvalue():
            self.enqueue_req(conn)
        else:
            conn.set_timeout()
            if not self.alive:  # its next request may be on its way: it is answered with "close"
                conn.timeout = min(conn.timeout, time.monotonic() + LEAVE_SECONDS)
            self.keepalived_conns.append(conn)
            waiting = partial(self.on_client_socket_readable, conn)
            self.poller.register(conn.sock, _IN, waiting)

    def _leave(self, conn: HttpConnection) -> None:
        # Closing with unread bytes would take the answer away from a client that has not read it yet.
        try:
            while conn.drained < MOST_DRAINED and (piece := conn.sock.socket.recv(_PIECE)):
                conn.drained += len(piece)
        except _NOT_NOW:
            self._wait(conn, _IN, self._leave)
            return
        self._close(conn)

    # --- the loop's own books ---------------------------------------------------------------------

    def _wait(
        self, conn: HttpConnection, event: int, then: Callable[[HttpConnection], None]
    ) -> None:
        def go_on(_file: object) -> None:
            self._guarded(conn, then)

        if conn in self._waiting:
            self.poller.modify(conn.sock, event, go_on)
        else:
            self.poller.register(conn.sock, event, go_on)
            self._waiting[conn] = None

    def _drop_one(self) -> None:
        if self._waiting:
            self._close(next(iter(self._waiting)))
        elif self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)

    def _forget(self, conn: HttpConnection) -> None:
        if conn in self._waiting:
            del self._waiting[conn]
            self.poller.unregister(conn.sock)

    def _guarded(self, conn: HttpConnection, work: Callable[..., None], *more: Any) -> None:
        try:
            work(conn, *more)
        except OSError:  # a reset, a broken handshake, too slow: nobody is left to answer
            self._close(conn)
        except Exception:
            self.log.exception("a connection could not be served")
            self._close(conn)

    def _close(self, conn: HttpConnection) -> None:
        if conn.is_closed:
            return
        conn.is_closed = True
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()
