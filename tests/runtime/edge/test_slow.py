"""Slow visitors cost their own place only, and whoever may be silent is not cut."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from runtime.edge import limits, uploads
from runtime.edge.routes import EdgeRoute
from tests.runtime.edge.conftest import Front, exchange, wait_for


@contextlib.contextmanager
def opened(port: int, count: int, request: bytes, *, source: str) -> Iterator[list[socket.socket]]:
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.bind((source, 0))
            connection.connect(("127.0.0.1", port))
            connection.sendall(request)
            connections.append(connection)
        yield connections
    finally:
        for connection in connections:
            connection.close()


class Counted:
    """A program that counts who is with it, and answers with as many bytes as it is told.

    ends: what a request ends with that it waits for.
    """

    def __init__(
        self, size: int, *, port: int = 0, chunks: tuple[float, ...] = (), ends: bytes = b"\r\n\r\n"
    ) -> None:
        self.now = self.most = 0
        self._size, self._chunks, self._ends = size, chunks, ends
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            received = b""
            while self._ends not in received and (piece := connection.recv(65_536)):
                received += piece
            if self._chunks:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                for pause in self._chunks:
                    connection.sendall(b"2\r\nx\n\r\n")
                    time.sleep(pause)
                connection.sendall(b"0\r\n\r\n")
            else:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nConnection: close\r\n"
                    + f"Content-Length: {self._size}\r\n\r\n".encode()
                    + b"x" * self._size
                )
        with self._lock:
            self.now -= 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def program() -> Iterator[Callable[..., Counted]]:
    made: list[Counted] = []

    def make(size: int = 3, **how: object) -> Counted:
        made.append(Counted(size, **how))  # type: ignore[arg-type] # passed on as it is
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("path", ["/login/", "/api/v1/tenants", "/events/x"])
def test_a_body_that_comes_slowly_reaches_no_thread_of_the_platform(
    front: Front, program: Callable[..., Counted], path: str
) -> None:
    web = program(port=front.config.port_base + 2)
    events = program(port=front.config.port_base + 3)
    head = f"POST {path} HTTP/1.1\r\nHost: console.test\r\nContent-Length: 50000\r\n\r\nx"
    with opened(front.config.http_port, 40, head.encode(), source="127.0.0.7") as slow:
        for connection in slow:
            connection.sendall(b"x")
        assert front.get("console.test", "/livez").status == 200
        assert front.get("console.test", "/").status == 200
        assert web.most + events.most <= 2


def test_a_form_that_comes_slowly_takes_no_place_in_a_shop(
    front: Front, program: Callable[..., Counted]
) -> None:
    shop = program()
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
    head = b"POST /buy HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5000\r\n\r\nx"
    with opened(front.config.http_port, 40, head, source="127.0.0.7"):
        assert front.get("acme.localhost").status == 200
        assert shop.most == 1


@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_uploads_that_come_slowly_leave_places_in_a_shop(
    front: Front, program: Callable[..., Counted], length: str
) -> None:
    shop = program(ends=b"ended")
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
    head = f"POST /up HTTP/1.1\r\nHost: acme.localhost\r\n{length}\r\n\r\n5\r\nhello\r\n".encode()
    port = front.config.http_port
    with opened(port, 40, head, source="127.0.0.7") as slow:
        wait_for(lambda: len(select.select(slow, [], [], 0)[0]) == 8)
        refused = select.select(slow, [], [], 0)[0]
        assert [one.recv(65_536)[:13] for one in refused] == [b"HTTP/1.1 429 "] * 8
        assert shop.most <= 32
        large = b"x" * 1_000_000 + b"ended"
        with opened(port, 1, b"", source="127.0.0.8") as (other,):
            told = f"Content-Length: {len(large)}\r\nConnection: close\r\n\r\n".encode()
            other.sendall(b"POST /up HTTP/1.1\r\nHost: acme.localhost\r\n" + told + large)
            assert other.recv(65_536).startswith(b"HTTP/1.1 200 ")

    def comes_again() -> bool:
        with opened(port, 1, head.replace(b"hello", b"ended"), source="127.0.0.7") as (later,):
            return later.recv(65_536).startswith(b"HTTP/1.1 200 ")

    wait_for(comes_again)


def test_where_both_sides_speak_a_pause_cuts_nothing(
    front: Front, program: Callable[..., Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PAUSE_SECONDS", 0.5)
    shop = program(chunks=(0.1, 2.0))
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
    head = b"POST /both HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n"
    request = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with opened(front.config.http_port, 1, request, source="127.0.0.7") as (connection,):
        time.sleep(1.2)
        connection.sendall(b"2\r\nmy\r\n0\r\n\r\n")
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    assert received.count(b"2\r\nx\n\r\n") == 2
    assert received.endswith(b"0\r\n\r\n")
    assert b"408" not in received


def test_static_files_that_are_read_slowly_leave_threads_for_the_pages(
    front: Front, program: Callable[..., Counted]
) -> None:
    web = program(3_000_000, port=front.config.port_base + 2)
    head = b"GET /static/big.js?%d HTTP/1.1\r\nHost: console.test\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for number in range(40):
            stack.enter_context(
                opened(front.config.http_port, 1, head % number, source="127.0.0.7")
            )
        wait_for(lambda: web.now >= 1)
        time.sleep(0.5)
        assert web.now <= 4
        assert front.get("console.test", "/").status == 200


def test_static_files_that_are_read_slowly_take_no_share_of_the_shops(
    make_front: Callable[..., Front], program: Callable[..., Counted]
) -> None:
    front = make_front(STOA_EDGE_MAXCONN="160", STOA_EDGE_SOURCE_CONNECTIONS="100")
    front.start()
    program(3_000_000, port=front.config.port_base + 2)
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    head = b"GET /static/big.js HTTP/1.1\r\nHost: console.test\r\n\r\n"
    with opened(front.config.http_port, 21, head, source="127.0.0.7") as slow:
        # Which of them it is that comes too late is HAProxy's choice.
        wait_for(lambda: len(select.select(slow, [], [], 0)[0]) > 0)
        wait_for(lambda: front.get("console.test", "/static/other.js").status == 503)
        assert front.get("acme.localhost").status == 200


def test_many_who_ask_whether_all_is_ready_take_two_threads(
    front: Front, program: Callable[..., Counted]
) -> None:
    web = program(3_000_000, port=front.config.port_base + 2)
    head = b"GET /readyz HTTP/1.1\r\nHost: console.test\r\n\r\n"
    with opened(front.config.http_port, 30, head, source="127.0.0.7"):
        wait_for(lambda: web.now >= 1)
        time.sleep(0.3)
        assert web.now <= 2
        assert front.get("console.test", "/livez").status == 200


@pytest.mark.parametrize("accept", ["", "Accept: text/event-stream\r\n", "Accept: */*\r\n"])
def test_a_stream_may_be_silent_for_longer_than_a_page(
    make_front: Callable[..., Front], program: Callable[..., Counted], accept: str
) -> None:
    front = make_front(STOA_EDGE_PAGE_SECONDS="1")
    front.start()
    shop = program(chunks=(3.0, 0.0))
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
    request = f"GET /events HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n{accept}\r\n"
    answer = exchange(front.config.http_port, request.encode())
    assert answer.status == 200
    assert answer.body.endswith(b"0\r\n\r\n")


@pytest.mark.long
def test_a_stream_that_is_silent_for_seventy_seconds_is_not_cut(
    front: Front, program: Callable[..., Counted]
) -> None:
    shop = program(chunks=(70.0, 0.0))
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
    request = b"GET /events HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n"
    assert exchange(front.config.http_port, request, timeout=90).body.endswith(b"0\r\n\r\n")


def test_somebody_who_waits_for_a_page_is_told_when_it_takes_too_long(
    make_front: Callable[..., Front],
) -> None:
    front = make_front(STOA_EDGE_PAGE_SECONDS="1")
    front.start()
    shop = front.shop("acme", delay_seconds=4.0)
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 1, 1)])
    answer = front.get("acme.localhost", "/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
    assert answer.status == 504
    assert "ショップの応答に時間がかかっています" in answer.body.decode()


def test_a_visitor_who_left_a_silent_stream_is_not_kept(
    front: Front, program: Callable[..., Counted]
) -> None:
    shop = program(chunks=(30.0, 0.0))
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
    head = b"GET /events HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"
    value = f"acme@127.0.0.1:{shop.port}"
    with opened(front.config.http_port, 5, head, source="127.0.0.7") as streams:
        for stream in streams:
            assert stream.recv(100)
        wait_for(lambda: front.edge.in_flight([value])[value] == 5)
    wait_for(lambda: front.edge.in_flight([value])[value] == 0)


@pytest.mark.long
def test_an_upload_that_pauses_is_the_visitors_delay_and_not_the_shops(front: Front) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    for size in (5_000, 5_000_000):
        head = f"POST /up HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: {size}\r\n\r\nabc"
        with socket.create_connection(("127.0.0.1", front.config.http_port), 90) as connection:
            began = time.monotonic()
            connection.sendall(head.encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - began < limits.PAUSE_SECONDS + 10
