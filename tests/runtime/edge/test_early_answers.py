"""A shop that answers before it has read an upload: its visitor gets that answer."""

import socket
import threading
from collections.abc import Iterator

import pytest

from runtime.edge.routes import EdgeRoute
from tests.runtime.edge.conftest import Front, wait_for

_CLIENTS = 30


class Refuser:
    """Answers 413 after `reads` bytes of body and closes at once, so that its kernel sends a reset."""

    def __init__(self, reads: int) -> None:
        self._reads = reads
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._refuse, args=(connection,), daemon=True).start()

    def _refuse(self, connection: socket.socket) -> None:
        received = b""
        with connection:
            try:
                while b"\r\n\r\n" not in received:
                    received += connection.recv(1024)
                while len(received) < self._reads:
                    received += connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n"
                    b"Connection: close\r\n\r\nno more\n"
                )
            except OSError:
                pass

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(params=[0, 500_000], ids=["after the head", "amid the body"])
def refuser(request: pytest.FixtureRequest) -> Iterator[Refuser]:
    made = Refuser(request.param)
    yield made
    made.close()


def upload(port: int, *, chunked: bool, size: int = 4_000_000) -> bytes:
    """Send a body whatever happens, then read what the answer is; b"" when there is none."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"POST /up HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n{length}\r\n\r\n"
    piece = b"x" * 65_536
    framed = b"10000\r\n" + piece + b"\r\n" if chunked else piece
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(head.encode())
            for _ in range(size // len(piece)):
                connection.sendall(framed)
        except OSError:
            pass
        try:
            while not received.endswith(b"no more\n") and (more := connection.recv(65_536)):
                received += more
        except OSError:
            pass
    return received


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_early_answer_of_a_shop_reaches_every_visitor(
    front: Front, refuser: Refuser, chunked: bool
) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{refuser.port}", 1, 1)])
    answers: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(upload(front.config.http_port, chunked=chunked))
        )
        for _ in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.split(b"\r\n")[0] for a in answers] == [b"HTTP/1.1 413 Content Too Large"] * _CLIENTS


def test_uploads_arrive_whole_with_and_without_the_agent(front: Front) -> None:
    shop = front.shop("acme")
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 1, 1)])
    body = b"x" * 5_000_000
    assert front.get("acme.localhost", body=body).json()["bytes"] == len(body)
    assert "acme" in sent_by_relay(front)
    front.hold.stop()
    for _ in range(3):
        assert front.get("acme.localhost", body=body).json()["bytes"] == len(body)


def sent_by_relay(front: Front) -> str:
    """Which of the backend's two ways has carried a request."""
    rows = front.edge._proxy.exchange("show stat\n").splitlines()
    uploads = next(row for row in rows if row.startswith("shops,uploads,")).split(",")
    return "acme" if int(uploads[7]) else ""


def test_the_relay_leads_nowhere_but_to_hosts(front: Front) -> None:
    from runtime.edge.uploads import address

    name = f"\0{address(front.config.state_dir)}".encode().ljust(108, b"\0")
    front.edge.watch()
    for line in (
        b"PROXY TCP4 127.0.0.1 10.9.9.9 1 20000\r\n",
        b"PROXY UNKNOWN\r\n",
        b"GET / HTTP/1.1\r\n",
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(name)
            connection.sendall(line)
            assert connection.recv(10) == b""
    wait_for(lambda: front.hold.held == 0)
