"""One process, one loop, many browsers: accepts, reads, asks the application, writes.

No threads and no buffering without an end: the number of connections, what each may send, and how long each
may take are bounded, so a slow or hostile browser costs only its own place. When all places are taken, the
connection that the loop has waited for longest gives way to a new one. With no connection open the process
sleeps in epoll without a timer and uses no CPU at all.
"""

# ruff: noqa: SLF001 - `_accept` and `_exit` are what socket and os wrap

from __future__ import annotations

import posix
import sys
from _signal import SIGINT, SIGTERM, set_wakeup_fd, signal
from _socket import AF_INET, SHUT_WR, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from select import EPOLLIN, EPOLLOUT, epoll, poll
from time import monotonic

from .messages import MAX_HEAD, HttpError, Request, Response, parse_head

MAX_CONNECTIONS = 128
BACKLOG = 128
CHUNK = 16384
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Seconds a connection may take.
HEAD_TIME = 10.0  # from its first byte (or from accept) to the end of a request's head
BODY_TIME = 20.0
ANSWER_TIME = 30.0  # working out (a password check runs beside the loop) and sending
IDLE_TIME = 15.0  # kept open between requests
CALM_TIME = 0.5  # nobody has to give way before: a burst of visitors sends its requests meanwhile
LINGER_TIME = 2.0  # reading on after a refusal, or the kernel's reset could overtake it
DRAIN_TIME = 8.0  # from TERM to the end; the platform kills after 10
QUIET_TIME = 0.15  # from TERM on: kept open for a request that may be on its way already


class Later:
    """A response that a child process is working out; it writes to `pipe` and ends.

    `finish` makes the response out of what was written (at most one pipe's worth, 4096 bytes).
    """

    __slots__ = ("finish", "pid", "pipe")

    def __init__(self, pipe: int, pid: int, finish) -> None:
        self.pipe = pipe
        self.pid = pid
        self.finish = finish


class Connection:
    """What is known about one browser's connection; `fd` is its socket."""

    __slots__ = (
        "began",
        "deadline",
        "fd",
        "inbox",
        "later",
        "lingers",
        "outbox",
        "request",
        "served",
        "stays",
        "writing",
    )

    def __init__(self, fd: int, now: float) -> None:
        self.fd = fd
        self.inbox = b""
        self.outbox: bytes | memoryview = b""
        self.request: Request | None = None  # head read, body or answer outstanding
        self.later: Later | None = None
        self.served = False  # has had an answer already
        self.stays = True  # open after the response
        self.writing = False  # registered for EPOLLOUT
        self.lingers = False  # answered and shut for writing; what still comes is thrown away
        self.began = now
        self.deadline = now + HEAD_TIME

    @property
    def idle(self) -> bool:
        return self.request is None and not self.inbox and not self.outbox and not self.lingers

    @property
    def waited_for(self) -> bool:
        """Return whether the next step is the browser's: no request is whole, or its refusal is sent."""
        return self.later is None and not self.outbox


class Server:
    """Serves `application(request) -> Response | Later` on a TCP port of every interface."""

    def __init__(self, port: int, application) -> None:
        self._application = application
        self._connections: dict[int, Connection] = {}
        self._waiting: dict[int, tuple[Later, Connection | None]] = {}  # by a child's pipe
        self._backlog: list[Connection] = []  # a further request is already in the inbox
        self._stop_at = 0.0
        self._accepting = True
        self._next_sweep = 0.0
        self._listener = socket(AF_INET, SOCK_STREAM)
        self._listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self._listener.bind(("0.0.0.0", port))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._listen_fd = self._listener.fileno()
        self._wake_fd, wake_writer = posix.pipe2(posix.O_NONBLOCK | posix.O_CLOEXEC)
        set_wakeup_fd(wake_writer)
        for number in (SIGTERM, SIGINT):
            signal(number, lambda *_: None)  # the byte in the pipe does the work
        self._epoll = epoll()
        self._epoll.register(self._listen_fd, EPOLLIN)
        self._epoll.register(self._wake_fd, EPOLLIN)
        self._log_room = poll()
        self._log_room.register(1, EPOLLOUT)

    def serve(self) -> None:
        """Until TERM or INT, and then until requests in flight are answered (at most DRAIN_TIME)."""
        while not self._stop_at or self._connections:
            events = self._epoll.poll(self._patience(), 2 * MAX_CONNECTIONS)
            now = monotonic()
            somebody_comes = False
            for fd, mask in events:
                if fd == self._listen_fd:
                    somebody_comes = True
                elif fd == self._wake_fd:
                    self._stop(now)
                elif fd in self._waiting:
                    self._finish_later(fd, now)
                elif connection := self._connections.get(fd):
                    self._serve_one(connection, mask, now)
            again, self._backlog = self._backlog, []
            for connection in again:
                if connection.fd in self._connections:
                    self._advance(connection, now)
            if somebody_comes and not self._stop_at:
                self._accept(now)  # last: who has sent a whole request by now gives way to nobody
            if now >= self._next_sweep:
                self._sweep(now)

    def _patience(self) -> float | None:
        """Seconds to sleep at most; None (for ever) when there is nobody whose time could run out."""
        if self._backlog:
            return 0
        if self._stop_at:
            return QUIET_TIME
        return 1.0 if self._connections else None

    def _accept(self, now: float) -> None:
        """Accept waiting connections while there is room."""
        while True:
            leaves = None
            if len(self._connections) >= MAX_CONNECTIONS:
                leaves = self._who_gives_way(now)
                if leaves is None:
                    break
            try:
                fd, _ = self._listener._accept()
            except OSError:
                return  # nobody (any more), or file descriptors ran out: the next event tries again
            if leaves is not None:
                self._close(leaves)
            posix.set_blocking(fd, False)
            self._connections[fd] = Connection(fd, now)
            self._epoll.register(fd, EPOLLIN)
            if len(self._connections) == MAX_CONNECTIONS:
                return  # those that still wait make the next event
        # Further ones wait in the kernel until one of these ends, or the next sweep.
        self._epoll.modify(self._listen_fd, 0)
        self._accepting = False

    def _who_gives_way(self, now: float) -> Connection | None:
        """Return an idle connection that has had an answer; else the one that is waited for longest."""
        idle = [each for each in self._connections.values() if each.idle and each.served]
        if idle:
            return min(idle, key=lambda connection: connection.deadline)
        if self._stop_at:
            return None  # what has begun is answered
        slow = [
            each
            for each in self._connections.values()
            if each.waited_for and now - each.began >= CALM_TIME and each not in self._backlog
        ]
        return min(slow, key=lambda connection: connection.began, default=None)

    def _serve_one(self, connection: Connection, mask: int, now: float) -> None:
        """The socket can be read or written: go on where this connection was."""
        try:
            if connection.outbox:
                self._send(connection, now)
            elif mask & EPOLLIN and connection.later is None:
                data = posix.read(connection.fd, CHUNK)
                if not data:
                    self._close(connection)
                    return
                if connection.lingers:
                    return
                if connection.idle:
                    connection.began = now
                    connection.deadline = now + HEAD_TIME
                connection.inbox += data
                self._advance(connection, now)
            else:
                self._close(connection)  # the other side is gone (HUP, ERR)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)

    def _advance(self, connection: Connection, now: float) -> None:
        """See whether the inbox holds a whole request, and answer it."""
        try:
            request = connection.request or self._read_head(connection, now)
            if request is None or len(connection.inbox) < request.length:
                return
            request.body = connection.inbox[: request.length]
            connection.inbox = connection.inbox[request.length :]
            connection.stays = request.keep_alive and not self._stop_at
            connection.deadline = now + ANSWER_TIME
            connection.began = now
        except HttpError as error:
            connection.stays = False
            connection.lingers = True
            self._answer(connection, self._application.refuse(error, connection.request), now)
            return
        try:
            answer = self._application(request)
        except Exception:  # noqa: BLE001 - one broken page must not end the shop
            sys.excepthook(*sys.exc_info())
            answer = self._application.refuse(HttpError(500), request)
        self._take(connection, answer, now)

    def _take(self, connection: Connection | None, answer, now: float) -> None:
        """Send a response, or wait for the child that works it out. None: the browser has gone."""
        if isinstance(answer, Later):
            self._waiting[answer.pipe] = (answer, connection)
            self._epoll.register(answer.pipe, EPOLLIN)
            if connection is not None and connection.later is None:
                self._epoll.modify(connection.fd, 0)
            if connection is not None:
                connection.later = answer
        elif connection is not None:
            if connection.later is not None:
                connection.later = None
                self._epoll.modify(connection.fd, EPOLLIN)
            self._answer(connection, answer, now)

    def _read_head(self, connection: Connection, now: float) -> Request | None:
        connection.inbox = (
            connection.inbox.lstrip(b"\r\n")
            if connection.inbox[:1] in b"\r\n"
            else connection.inbox
        )
        end = connection.inbox.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end < 0:
            if len(connection.inbox) >= MAX_HEAD:
                raise HttpError(431)
            return None
        request = connection.request = parse_head(connection.inbox[:end])
        connection.inbox = connection.inbox[end + 4 :]
        connection.deadline = now + BODY_TIME
        wish = request.headers.get("expect", "")
        if wish and wish.lower() != "100-continue":
            raise HttpError(417)
        if wish and len(connection.inbox) < request.length:
            posix.write(connection.fd, CONTINUE)
        return request

    def _finish_later(self, pipe: int, now: float) -> None:
        """A child has written its result: make the response of it."""
        data = posix.read(pipe, 4096)
        later, connection = self._waiting.pop(pipe)
        self._epoll.unregister(pipe)
        posix.close(pipe)
        posix.waitpid(later.pid, 0)
        request = connection.request if connection is not None else None
        try:
            answer = later.finish(data)
        except HttpError as error:
            answer = self._application.refuse(error, request)
        except Exception:  # noqa: BLE001 - as for pages
            sys.excepthook(*sys.exc_info())
            answer = self._application.refuse(HttpError(500), request)
        self._take(connection, answer, now)

    def _answer(self, connection: Connection, response: Response, now: float) -> None:
        request = connection.request
        head_only = request is not None and request.method == "HEAD"
        connection.outbox = response.encode(head_only=head_only, keep_alive=connection.stays)
        self._log(request, response, monotonic() - connection.began)
        connection.request = None
        self._send(connection, now)

    def _send(self, connection: Connection, now: float) -> None:
        try:
            sent = posix.write(connection.fd, connection.outbox)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(connection.outbox):
            connection.outbox = memoryview(connection.outbox)[sent:]
            if not connection.writing:
                connection.writing = True
                self._epoll.modify(connection.fd, EPOLLOUT)
            return
        connection.outbox = b""
        connection.served = True
        if not connection.stays and not connection.lingers:
            self._close(connection)
            return
        if connection.writing:
            connection.writing = False
            self._epoll.modify(connection.fd, EPOLLIN)
        if connection.lingers:
            _shut_for_writing(connection.fd)
            connection.inbox = b""
            connection.deadline = now + LINGER_TIME
            return
        connection.deadline = now + (HEAD_TIME if connection.inbox else IDLE_TIME)
        if connection.inbox:
            self._backlog.append(connection)  # after everybody else had a turn

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection.fd, None) is None:
            return
        if connection.later is not None:
            # The child is still to be collected.
            self._waiting[connection.later.pipe] = (connection.later, None)
        posix.close(connection.fd)
        self._listen_again()

    def _listen_again(self) -> None:
        if not self._accepting and not self._stop_at:
            self._epoll.modify(self._listen_fd, EPOLLIN)
            self._accepting = True

    def _sweep(self, now: float) -> None:
        """Once a second, oftener towards the end: close what took too long."""
        self._next_sweep = now + (QUIET_TIME if self._stop_at else 1.0)
        overdue = self._stop_at and now >= self._stop_at
        for connection in list(self._connections.values()):
            if overdue or now >= connection.deadline:
                self._close(connection)
        self._listen_again()  # meanwhile somebody may have been waited for long enough

    def _stop(self, now: float) -> None:
        """TERM: no new connections, idle ones end, what has begun is answered."""
        posix.read(self._wake_fd, 64)
        if self._stop_at:
            return
        self._stop_at = now + DRAIN_TIME
        self._accept(now)  # those already in the queue were promised an answer
        self._listener.close()
        self._listen_fd = -1  # its number will be given to another file
        self._next_sweep = now
        for connection in list(self._connections.values()):
            connection.stays = False
            if connection.idle:
                # One that was answered a moment ago may be about to ask again; not for long.
                left = QUIET_TIME if now - connection.began < QUIET_TIME else 0.0
                connection.deadline = now + left

    def _log(self, request: Request | None, response: Response, seconds: float) -> None:
        """One line to standard output, unless its reader is so far behind that we would block."""
        line = self._application.log_line(request, response)
        if line and self._log_room.poll(0):
            try:
                posix.write(1, f"{line} {seconds * 1000:.1f}ms\n".encode("ascii", "replace")[:2000])
            except OSError:
                pass  # nobody reads the log: no reason to stop selling


def _shut_for_writing(fd: int) -> None:
    """Say that nothing more will come, while still reading."""
    borrowed = socket(fileno=fd)
    try:
        borrowed.shutdown(SHUT_WR)
    except OSError:
        pass  # gone already
    borrowed.detach()
