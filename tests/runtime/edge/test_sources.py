"""Who may come in and how many: sources are counted, known proxies are believed, balancers are told."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.edge.routes import EdgeRoute
from runtime.errors import SpecInvalidError
from tests.runtime.edge.conftest import Front, exchange, make_config, wait_for

_GET = b"GET / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n"


def asked(
    port: int, request: bytes, *, source: str = "127.0.0.1", to: str = "127.0.0.1"
) -> tuple[int, bytes]:
    """Status and body of an answer to a source; status 0 when the door stayed shut."""
    received = b""
    try:
        with socket.create_connection((to, port), 20, source_address=(source, 0)) as connection:
            connection.sendall(request)
            while piece := connection.recv(65_536):
                received += piece
    except OSError:
        return 0, b""
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body


def seen_headers(body: bytes) -> dict[str, str]:
    return dict(json.loads(body)["headers"])


@contextlib.contextmanager
def crowd(port: int, sources: dict[str, int]) -> Iterator[list[socket.socket]]:
    """Open connections per source and send half a head on each."""
    opened: list[socket.socket] = []
    try:
        for source, count in sources.items():
            for _ in range(count):
                connection = socket.create_connection(
                    ("127.0.0.1", port), 20, source_address=(source, 0)
                )
                opened.append(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: acme.loc")
        yield opened
    finally:
        for connection in opened:
            connection.close()


@pytest.fixture
def small(make_front: Callable[..., Front]) -> Front:
    front = make_front(STOA_EDGE_MAXCONN="400", STOA_EDGE_SOURCE_CONNECTIONS="20")
    front.start()
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    return front


def test_a_greedy_source_is_told_and_then_shut_out_and_others_notice_nothing(small: Front) -> None:
    port = small.config.http_port
    with crowd(port, {"127.0.0.7": 21}):
        # Connected is not yet accepted: until the edge has taken all, it cannot have counted them.
        wait_for(lambda: asked(port, _GET + b"\r\n", source="127.0.0.7")[0] != 200)
        status, body = asked(port, _GET + b"\r\n", source="127.0.0.7")
        assert (status, "回線" in body.decode()) == (429, True)
        api = b"GET /api/v1/x HTTP/1.1\r\nHost: console.test\r\nConnection: close\r\n\r\n"
        status, body = asked(port, api, source="127.0.0.7")
        assert (status, json.loads(body)["status"]) == (429, 429)
        assert asked(port, _GET + b"\r\n")[0] == 200
    with crowd(port, {"127.0.0.8": 500}):
        assert asked(port, _GET + b"\r\n", source="127.0.0.8")[0] == 0
        assert asked(port, _GET + b"\r\n")[0] == 200


def test_forty_sources_together_leave_room_for_whoever_comes_new(small: Front) -> None:
    with crowd(small.config.http_port, {f"127.0.1.{n}": 13 for n in range(1, 41)}):
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            assert asked(small.config.http_port, _GET + b"\r\n", source=source)[0] == 200


def test_a_source_that_asks_too_often_is_told_to_wait(make_front: Callable[..., Front]) -> None:
    front = make_front(STOA_EDGE_SOURCE_REQUESTS="20")
    front.start()
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    request = _GET.replace(b"Connection: close\r\n", b"") + b"\r\n"
    statuses = []
    with socket.create_connection(("127.0.0.1", front.config.http_port), 20) as connection:
        answers = connection.makefile("rb")
        for _ in range(25):
            connection.sendall(request)
            statuses.append(int(answers.readline().split()[1]))
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
    assert statuses[:18] == [200] * 18
    assert statuses[-1] == 429
    assert asked(front.config.http_port, _GET + b"\r\n", source="127.0.0.9")[0] == 200


def test_kept_connections_are_let_go_while_the_edge_is_full(small: Front) -> None:
    port = small.config.http_port
    kept = b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n"
    with crowd(port, {f"127.0.2.{n}": 9 for n in range(1, 41)}):
        began = time.monotonic()
        assert asked(port, kept)[0] == 200  # asked() reads until the edge closes
        assert time.monotonic() - began < 10


@pytest.fixture
def behind_proxies(make_front: Callable[..., Front], tmp_path: Path) -> Front:
    port = make_config(tmp_path / "other").http_port
    front = make_front(
        STOA_EDGE_PROXIES="127.0.0.9,127.0.5.0/24,2001:db8::/32",
        STOA_EDGE_PROXY_PORT=str(port),
        STOA_EDGE_SOURCE_REQUESTS="30",
    )
    front.start()
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    front.shop("web", port=front.config.port_base + 2)
    return front


@pytest.mark.parametrize(
    ("source", "sent", "visitor", "scheme"),
    [
        ("127.0.0.9", "203.0.113.7", "203.0.113.7", "https"),
        ("127.0.0.9", "6.6.6.6, 203.0.113.7", "203.0.113.7", "https"),
        ("127.0.0.9", "6.6.6.6, 203.0.113.7, 127.0.5.1, 127.0.5.2", "203.0.113.7", "https"),
        ("127.0.0.9", "2001:db9::1", "2001:db9::1", "https"),
        ("127.0.0.9", "unknown", "127.0.0.9", "https"),
        ("127.0.0.9", "6.6.6.6, unknown", "127.0.0.9", "https"),
        ("127.0.0.8", "203.0.113.7", "127.0.0.8", "http"),
    ],
)
def test_only_a_known_proxy_is_believed_whom_it_speaks_for(
    behind_proxies: Front, source: str, sent: str, visitor: str, scheme: str
) -> None:
    named = f"X-Forwarded-For: {sent}\r\nX-Forwarded-Proto: https\r\n\r\n".encode()
    for host in (b"acme.localhost", b"console.test"):
        request = _GET.replace(b"acme.localhost", host) + named
        status, body = asked(behind_proxies.config.http_port, request, source=source)
        assert status == 200
        headers = seen_headers(body)
        assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == (visitor, scheme)


@pytest.mark.parametrize(
    ("line", "visitor"),
    [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n", "203.0.113.7"),
        (b"PROXY TCP6 2001:db9::7 ::1 1 2\r\n", "2001:db9::7"),
    ],
)
def test_the_proxy_protocol_is_spoken_by_known_proxies_alone(
    behind_proxies: Front, line: bytes, visitor: str
) -> None:
    port = behind_proxies.config.proxy_port
    request = line + _GET + b"X-Forwarded-For: 6.6.6.6\r\n\r\n"
    status, body = asked(port, request, source="127.0.0.9")
    assert (status, seen_headers(body)["x-forwarded-for"]) == (200, visitor)
    assert asked(port, request, source="127.0.0.8")[0] == 0
    assert asked(behind_proxies.config.http_port, request, source="127.0.0.9")[0] == 400


def test_visitors_behind_one_proxy_are_counted_each_for_himself(behind_proxies: Front) -> None:
    def ask(visitor: str) -> int:
        named = f"X-Forwarded-For: {visitor}\r\n\r\n".encode()
        return asked(behind_proxies.config.http_port, _GET + named, source="127.0.0.9")[0]

    assert 429 in [ask("203.0.113.7") for _ in range(40)]
    assert ask("203.0.113.8") == 200
    # All addresses of one IPv6 network of 64 bits are one visitor.
    assert 429 in [ask(f"2001:db9::{n:x}") for n in range(1, 41)]
    assert ask("2001:db9:0:1::1") == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"STOA_EDGE_PROXIES": "10.0.0.1/8"},
        {"STOA_EDGE_PROXIES": "my-proxy"},
        {"STOA_EDGE_PROXY_PORT": "9000"},
        {"STOA_EDGE_PROXY_PORT": "x", "STOA_EDGE_PROXIES": "10.0.0.1"},
        {"STOA_EDGE_SOURCE_CONNECTIONS": "0"},
    ],
)
def test_wrong_settings_of_the_door_are_refused_by_name(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    with pytest.raises(SpecInvalidError, match="STOA_EDGE_"):
        make_config(tmp_path, **wrong)


def test_the_edge_listens_by_ipv6_too(small: Front) -> None:
    if not small.config.has_ipv6:
        pytest.skip("this kernel has no IPv6")
    status, body = asked(small.config.http_port, _GET + b"\r\n", source="::1", to="::1")
    assert (status, seen_headers(body)["x-forwarded-for"]) == (200, "::1")


def test_a_balancer_is_told_whether_the_edge_is_in_step(front: Front) -> None:
    question = b"GET /.well-known/stoa/edge HTTP/1.0\r\n\r\n"
    by_address = (
        b"GET /.well-known/stoa/edge HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    port = front.config.http_port
    front.edge.watch()
    assert exchange(port, question).status == exchange(port, by_address).status == 200
    front.reload()
    assert exchange(port, question).status == 200
    # As if the agent had not spoken for a quarter of a minute.
    front.edge._proxy.exchange("experimental-mode on;set var proc.in_step_at int(1)\n")
    wait_for(lambda: exchange(port, question).status == 503)
    front.edge.watch()
    assert exchange(port, question).status == 200
