"""How large things may be: just below each limit goes through, just above it is refused with a page."""

import contextlib
import json
import runpy
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.edge import limits
from runtime.edge.routes import EdgeRoute
from tests.runtime.edge.conftest import Answer, Front, exchange

_HOSTS = ["acme.localhost", "console.test"]


class Raw:
    """A program that answers every request with the same bytes, and keeps the heads it got."""

    def __init__(self, answer: bytes, *, port: int = 0) -> None:
        self._answer, self.heads = answer, list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                received = b""
                while b"\r\n\r\n" not in received and (piece := connection.recv(65_536)):
                    received += piece
                head, _, body = received.partition(b"\r\n\r\n")
                self.heads.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        while len(body) < int(line.split(b":")[1]):
                            body += connection.recv(65_536)
                connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve(front: Front) -> Iterator[Callable[[bytes], Raw]]:
    """Put a program that answers so behind a shop's name and behind the console's."""
    made: list[Raw] = []

    def put(answer: bytes) -> Raw:
        shop = Raw(answer)
        made.extend((shop, Raw(answer, port=front.config.port_base + 2)))
        front.edge.apply([EdgeRoute("acme.localhost", f"acme@127.0.0.1:{shop.port}", 1, 1)])
        return shop

    yield put
    for raw in made:
        raw.close()


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
_NEAR = 1_000


@pytest.mark.parametrize("host", _HOSTS)
@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [
        ("/" + "u" * (limits.URL_BYTES - 2), [], 200),
        ("/" + "u" * limits.URL_BYTES, [], 414),
        ("/", ["Cookie: a=" + "c" * (limits.HEAD_BYTES - _NEAR)], 200),
        ("/", ["Cookie: a=" + "c" * limits.HEAD_BYTES], 431),
        ("/", ["Cookie: a=" + "c" * 3 * limits.HEAD_BYTES], 431),
        ("/", [f"X-{n}: y" for n in range(limits.HEAD_LINES - 10)], 200),
        ("/", [f"X-{n}: y" for n in range(limits.HEAD_LINES)], 431),
        ("/", [f"X-{n}: y" for n in range(5 * limits.HEAD_LINES)], 431),
    ],
    ids=["url", "url+", "head", "head+", "head++", "lines", "lines+", "lines++"],
)
def test_heads_up_to_the_limit_pass_and_beyond_it_a_page_says_so(
    front: Front, serve: Callable[[bytes], Raw], host: str, path: str, lines: list[str], status: int
) -> None:
    serve(_OK)
    answer = front.get(host, path, *lines)
    assert answer.status == status
    if status != 200:
        assert 'lang="ja"' in answer.body.decode()
        program = front.get("console.test", f"/api{path}", *lines)
        assert (program.status, program.json()["status"]) == (status, status)


def test_a_body_for_the_platform_is_whole_before_it_is_passed_on_and_has_a_ceiling(
    front: Front, serve: Callable[[bytes], Raw]
) -> None:
    serve(_OK)
    most = limits.PLATFORM_BODY_BYTES
    for path in ("/x", "/api/x"):
        assert front.get("console.test", path, body=b"x" * most).status == 200
        large_head = "Cookie: a=" + "c" * (limits.HEAD_BYTES - _NEAR)
        assert front.get("console.test", path, large_head, body=b"x" * most).status == 200
        assert front.get("console.test", path, body=b"x" * (most + 1)).status == 413
        assert chunked(front, path, most).status == 200
        assert chunked(front, path, most + 1).status == 413
        assert chunked(front, path, 20 * most).status == 413
    assert chunked(front, "/api/x", most + 1).json()["status"] == 413


def chunked(front: Front, path: str, size: int) -> Answer:
    head = f"POST {path} HTTP/1.1\r\nHost: console.test\r\nConnection: close\r\n"
    request = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    for start in range(0, size, 4096):
        piece = b"x" * min(4096, size - start)
        request += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    with socket.create_connection(("127.0.0.1", front.config.http_port), 20) as connection:
        received = b""
        with contextlib.suppress(OSError):  # refused before all of it was sent
            connection.sendall(request + b"0\r\n\r\n")
        with contextlib.suppress(OSError):
            while more := connection.recv(65_536):
                received += more
    head_text, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head_text.split(b" ")[1]), head_text.decode(), body)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Set-Cookie: a=" + "c" * (limits.HEAD_BYTES - _NEAR)], 200),
        (["Set-Cookie: a=" + "c" * limits.HEAD_BYTES], 502),
        ([f"Set-Cookie: c{n}=1" for n in range(limits.HEAD_LINES - 10)], 200),
        ([f"Set-Cookie: c{n}=1" for n in range(limits.HEAD_LINES)], 502),
    ],
    ids=["head", "head+", "lines", "lines+"],
)
def test_a_shops_answer_with_too_large_a_head_is_told_as_that(
    front: Front, serve: Callable[[bytes], Raw], lines: list[str], status: int
) -> None:
    more = "".join(f"{line}\r\n" for line in lines).encode()
    serve(_OK.replace(b"Connection", more + b"Connection"))
    answer = front.get("acme.localhost")
    assert answer.status == status
    if status != 200:
        assert "too large a head" in answer.body.decode()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a=1; Path=/; Domain=.localhost", "a=1; Path=/"),
        ("a=1;domain = localhost ;Secure", "a=1;Secure"),
        ("a=1; DOMAIN=x; Domain=localhost; HttpOnly", "a=1; HttpOnly"),
        ("domain=1; Path=/", "domain=1; Path=/"),
        ("a=1; Domain=a; Domain=b; Domain=c; Domain=d", "refused=; Max-Age=0"),
        ("a=1; Path=/", "a=1; Path=/"),
    ],
)
def test_a_shops_cookie_stays_the_shops_own(
    front: Front, serve: Callable[[bytes], Raw], sent: str, kept: str
) -> None:
    lines = f"Set-Cookie: {sent}\r\nSet-Cookie: b=2\r\n".encode()
    serve(_OK.replace(b"Connection", lines + b"Connection"))
    head = front.get("acme.localhost").head.split("\r\n")
    cookies = [line.partition(": ")[2] for line in head if line.lower().startswith("set-cookie")]
    assert cookies == [kept, "b=2"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
        ["Connection: Upgrade", "Upgrade: websocket, h2c"],
        ["Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"],
        ["Connection: Upgrade", "Upgrade: H2C"],
    ],
)
def test_another_protocol_than_websocket_is_not_asked_for_nor_begun(
    front: Front, serve: Callable[[bytes], Raw], lines: list[str]
) -> None:
    shop = serve(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    request = "GET / HTTP/1.1\r\nHost: acme.localhost\r\n" + "".join(f"{x}\r\n" for x in lines)
    with socket.create_connection(("127.0.0.1", front.config.http_port), 20) as connection:
        connection.sendall(request.encode() + b"\r\n")
        status = int(connection.recv(65_536).split(b" ")[1])
    assert status in {400, 502}  # HAProxy itself refuses half a WebSocket
    for head in shop.heads:
        assert b"h2c" not in head.lower()
        assert b"http2-settings:" not in head.lower()


def test_a_websocket_is_passed_on(front: Front, serve: Callable[[bytes], Raw]) -> None:
    shop = serve(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello"
    )
    answer = exchange(
        front.config.http_port,
        b"GET / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    assert (answer.status, answer.body) == (101, b"hello")
    assert b"upgrade: websocket" in shop.heads[0].lower()


def test_what_stands_behind_the_edge_takes_what_the_edge_lets_through() -> None:
    root = Path(__file__).parents[3]
    least = {
        "limit_request_line": limits.URL_BYTES + 100,
        "limit_request_fields": limits.HEAD_LINES + 10,
        "limit_request_field_size": limits.HEAD_BYTES,
    }
    web = runpy.run_path(str(root / "controlplane/serving/web_server.py"))
    assert {name: web[name] for name in least if web[name] < least[name]} == {}
    for name in ("deploy/supervisord.conf.in", "deploy/compose/enter"):
        commands = (root / name).read_text().replace("\\\n", " ").splitlines()
        (events,) = (line.split() for line in commands if "controlplane.asgi" in line)
        for option, wanted in least.items():
            flag = "--" + option.replace("_", "-", 2)
            assert int(events[events.index(flag) + 1]) >= wanted, (name, flag)
    found: dict[str, int] = {}
    for line in (root / "images/shop/shop/messages.py").read_text().splitlines():
        if line.startswith("MAX_"):
            key, _, value = line.partition(" = ")
            found[key] = int(value.split("#")[0])
    assert found["MAX_TARGET"] >= limits.URL_BYTES
    assert found["MAX_HEAD"] >= limits.HEAD_BYTES + limits.URL_BYTES + 1000
    assert found["MAX_HEADERS"] >= limits.HEAD_LINES + 10
    assert found["MAX_BODY"] >= limits.PLATFORM_BODY_BYTES


def test_the_table_of_limits_is_the_one_that_holds() -> None:
    table = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()
    for figure in (f"{limits.URL_BYTES:,} bytes", f"{limits.HEAD_LINES} lines"):
        assert figure in table
    for kib in (limits.HEAD_BYTES, limits.PLATFORM_BODY_BYTES):
        assert f"{kib // 1024} KiB" in table
    assert json.dumps(limits.PAUSE_SECONDS) in table
