"""A real HAProxy of the test's own: private directory, private ports, shops that echo what they got."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.edge import install
from runtime.edge.config import EdgeConfig, edge_config
from runtime.edge.edge import HaproxyEdge
from runtime.edge.hold import HoldService
from runtime.errors import HostError


def free_port_base(width: int = 10) -> int:
    """A start of `width` ports that nobody uses now, below those the kernel gives to clients."""
    while True:
        base = random.randrange(11_000, 18_000, width)
        try:
            for offset in range(width):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base


def make_config(state_dir: Path, **extra: str) -> EdgeConfig:
    base = free_port_base()
    state_dir.mkdir(parents=True, exist_ok=True)
    environ = {
        "STOA_EDGE_STATE": str(state_dir),
        "STOA_HTTP_PORT": str(base + 6),
        "STOA_PORT_BASE": str(base),
        "STOA_CONSOLE_HOST": "console.test",
        "STOA_EDGE_NETWORKS": "127.0.0.0/8",
        "STOA_PORTS": "10000-65535",
        "STOA_EDGE_USER": "haproxy" if os.geteuid() == 0 else "",
        **extra,
    }
    return edge_config(environ, descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1])


class QuietServer(ThreadingHTTPServer):
    request_queue_size = 1024  # a thousand held requests may be let go at once

    def handle_error(self, request: object, client_address: object) -> None:
        """HAProxy resets connections it is done with; that is no error."""


class Shop:
    """An HTTP program on loopback that answers with its name and what it was sent."""

    def __init__(self, name: str, *, port: int = 0, delay_seconds: float = 0.0) -> None:
        shop = self
        self.name, self.served = name, 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shop.served += 1
                time.sleep(delay_seconds)
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                answer = {
                    "shop": shop.name,
                    "headers": [[k.lower(), v] for k, v in self.headers.items()],
                    "bytes": len(body),
                    "path": self.path,
                }
                text = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET  # noqa: N815 - http.server looks for this name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = QuietServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def value(self, tenant: str) -> str:
        return f"{tenant}@127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Answer:
    status: int
    head: str
    body: bytes

    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


def exchange(port: int, request: bytes, *, timeout: float = 20.0) -> Answer:
    """Send raw bytes, read one answer until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ")[1]) if head else 0, head.decode("latin-1"), body)


def get(port: int, host: str, path: str = "/", *extra: str, body: bytes = b"") -> Answer:
    lines = [
        f"{'POST' if body else 'GET'} {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: close",
        *extra,
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return exchange(port, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)


@dataclass
class Front:
    """HAProxy with its table and hold service, as an edge runs them."""

    config: EdgeConfig
    process: subprocess.Popen[bytes] | None = None
    shops: list[Shop] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold = HoldService(self.config, lookup=self.lookup)
        self.edge = HaproxyEdge(self.config, on_change=self.hold.changed)

    def lookup(self, hostname: str) -> str:
        return self.edge.lookup(hostname)

    def start(self, wanted: dict[str, str] | None = None) -> None:
        install.write_files(self.config, wanted=wanted or {})
        install.check(self.config)
        install.note_loaded(self.config)
        with (self.config.state_dir / "haproxy.log").open("ab") as log:
            self.process = subprocess.Popen(
                install.command(self.config),
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: get(self.config.health_port, "x", "/healthz").status == 200)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def reload(self) -> None:
        """Have the master start a new worker; it loses a signal that comes while it is starting."""
        assert self.process
        old = self.edge._proxy.process_id()
        for _ in range(10):
            self.process.send_signal(signal.SIGUSR2)
            try:
                wait_for(lambda: self.edge._proxy.process_id() not in (0, old), seconds=1.0)
            except AssertionError:
                continue
            return
        raise AssertionError("HAProxy did not reload")

    def get(self, host: str, path: str = "/", *extra: str, body: bytes = b"") -> Answer:
        return get(self.config.http_port, host, path, *extra, body=body)

    def shop(self, name: str, *, port: int = 0, delay_seconds: float = 0.0) -> Shop:
        shop = Shop(name, port=port, delay_seconds=delay_seconds)
        self.shops.append(shop)
        return shop

    def close(self) -> None:
        self.stop()
        self.hold.stop()
        for shop in self.shops:
            shop.close()


def wait_for(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, HostError):
            pass
        assert time.monotonic() < deadline, "the awaited state did not come in time"
        time.sleep(0.02)


@pytest.fixture
def config(tmp_path: Path) -> EdgeConfig:
    return make_config(tmp_path / "edge")


@pytest.fixture
def make_front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    if not shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("haproxy is not installed")
    fronts: list[Front] = []

    def make(**environ: str) -> Front:
        front = Front(make_config(tmp_path / f"edge{len(fronts)}", **environ))
        fronts.append(front)
        front.hold.start()
        return front

    yield make
    for front in fronts:
        front.close()


@pytest.fixture
def front(make_front: Callable[..., Front]) -> Front:
    made = make_front()
    made.start()
    return made
