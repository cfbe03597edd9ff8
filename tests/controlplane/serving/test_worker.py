"""Real gunicorns, as web and as depot, under 200 slow clients of every kind on loopback."""

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.secrets import pool_ca
from tests.runtime.edge.conftest import free_port_base

SLOW = 200
APP = """
from controlplane.serving import worker

if QUICK:
    worker.HEAD_SECONDS = worker.BODY_SECONDS = 2.0

def application(environ, start_response):
    path, body = environ["PATH_INFO"], b"ok"
    if path == "/read":
        body = str(sum(len(piece) for piece in iter(lambda: environ["wsgi.input"].read(8192), b""))).encode()
    if path == "/large":
        body = b"x" * 1_500_000
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@dataclass
class Server:
    """A running gunicorn."""

    port: int
    ca: Path | None
    pid: int

    def connect(self, *, shaken: bool = True) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.ca is None or not shaken:
            return raw
        return ssl.create_default_context(cafile=str(self.ca)).wrap_socket(
            raw, server_hostname="127.0.0.1"
        )

    def ask(self, path: str = "/", body: bytes | None = None, **headers: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.sock = self.connect()
        try:
            connection.request("POST" if body else "GET", path, body, headers)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextlib.contextmanager
def running(tmp_path: Path, kind: str, *, quick: bool = False) -> Iterator[Server]:
    (tmp_path / "small.py").write_text(APP.replace("QUICK", str(quick)))
    port = free_port_base()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"}
    ca = None
    if kind == "depot":
        names = ["127.0.0.1", "localhost"]
        pool_ca.ensure(tmp_path, {"depot": "root"}, names, now=datetime.now(UTC))
        ca = tmp_path / "pool-ca.crt"
        environ |= {
            "STOA_DEPOT_CERT": str(tmp_path / "depot.crt"),
            "STOA_DEPOT_KEY": str(tmp_path / "depot.key"),
        }
    argv = [sys.executable, "-m", "gunicorn", "-c", f"python:controlplane.serving.{kind}_server"]
    argv += ["--bind", f"127.0.0.1:{port}", "--no-control-socket", "--workers", "1", "small"]
    process = subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL)
    server = Server(port, ca, process.pid)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                server.ask()
                break
            except OSError:
                assert time.monotonic() < deadline, "gunicorn did not start"
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module", params=["web", "depot"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp(request.param), request.param) as one:
        yield one


def silent(server: Server) -> socket.socket:
    return server.connect(shaken=False)


def half_a_hello(server: Server) -> socket.socket:
    client = server.connect(shaken=False)
    client.sendall(b"\x16\x03\x01" if server.ca else b"G")
    return client


def half_a_head(server: Server) -> socket.socket:
    client = server.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    return client


def half_a_small_body(server: Server) -> socket.socket:
    client = server.connect()
    client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nx")
    return client


def half_of_chunks(server: Server) -> socket.socket:
    client = server.connect()
    client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx")
    return client


def a_large_body_nobody_reads(server: Server) -> socket.socket:
    client = server.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\nx")
    return client


def reads_nothing(server: Server) -> socket.socket:
    raw = socket.socket()
    raw.settimeout(20)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", server.port))
    client = raw
    if server.ca:
        context = ssl.create_default_context(cafile=str(server.ca))
        client = context.wrap_socket(raw, server_hostname="127.0.0.1")
    client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    return client


def second_request_in_half(server: Server) -> socket.socket:
    client = server.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHos")
    return client


KINDS = (
    silent,
    half_a_hello,
    half_a_head,
    half_a_small_body,
    half_of_chunks,
    a_large_body_nobody_reads,
    reads_nothing,
    second_request_in_half,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_slow_clients_hold_no_thread(
    server: Server, kind: Callable[[Server], socket.socket]
) -> None:
    if server.ca and kind in (half_of_chunks, second_request_in_half):
        pytest.skip("the same code as without TLS")
    with contextlib.ExitStack() as stack:
        for _ in range(SLOW):
            stack.enter_context(contextlib.closing(kind(server)))
        took = []
        for _ in range(10):
            began = time.monotonic()
            assert server.ask() == b"ok"
            took.append(time.monotonic() - began)
    # On a busy machine; a held thread would cost ten seconds and more.
    assert max(took) < 5, took


def test_what_is_sent_well_is_served_well(server: Server) -> None:
    assert server.ask("/read", b"x" * 1000) == b"1000"
    assert server.ask("/read", b"x" * 300_000) == b"300000"
    assert len(server.ask("/large")) == 1_500_000
    client = server.connect()
    with contextlib.closing(client):
        client.sendall(
            b"POST /read HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"okGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        told = b"".join(iter(lambda: client.recv(65536), b""))
    assert told.count(b"HTTP/1.1 200 OK") == 2
    assert told.endswith(b"ok")


def test_a_head_that_is_too_large_is_told_so(server: Server) -> None:
    client = server.connect()
    with contextlib.closing(client):
        client.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 8000)
        assert client.recv(12) == b"HTTP/1.1 431"


def test_the_slow_are_let_go(tmp_path: Path) -> None:
    with running(tmp_path, "web", quick=True) as server:
        clients = [kind(server) for kind in (silent, half_a_head, half_a_small_body)]
        for client in clients:
            client.settimeout(30)
            assert client.recv(100) == b""
            client.close()


def test_a_crowd_of_slow_clients_gives_way_to_who_comes_now(tmp_path: Path) -> None:
    (tmp_path / "narrow.py").write_text(
        "from controlplane.serving import web_server\nfrom controlplane.serving import worker\n"
        "globals().update({k: v for k, v in vars(web_server).items() if k[0] != '_'})\n"
        "worker_connections = 120\nworker.SPARE = 60\n"
    )
    (tmp_path / "small.py").write_text(APP.replace("QUICK", "False"))
    port = free_port_base()
    argv = [sys.executable, "-m", "gunicorn", "-c", str(tmp_path / "narrow.py"), "--workers", "1"]
    process = subprocess.Popen(
        [*argv, "--bind", f"127.0.0.1:{port}", "--no-control-socket", "small"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"},
        stderr=subprocess.DEVNULL,
    )
    server = Server(port, None, process.pid)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                server.ask()
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with contextlib.ExitStack() as stack:
            for _ in range(SLOW):
                stack.enter_context(contextlib.closing(half_a_head(server)))
            began = time.monotonic()
            assert server.ask() == b"ok"
            assert time.monotonic() - began < 5
    finally:
        process.terminate()
        process.wait(30)
