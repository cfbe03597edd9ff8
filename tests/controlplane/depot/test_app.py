"""The depot: transfers never take every thread, nor one caller all that transfers may have; TLS alone."""

import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.depot.app import Depot
from controlplane.secrets import pool_ca
from runtime.control_link import connect
from tests.runtime.edge.conftest import free_port_base

BLOB = "/internal/v1/images/blobs/sha256:0"
TABLE = "/internal/v1/edges/one/routes"


class Asked:
    """One request to a depot, answered but not sent yet."""

    def __init__(self, depot: Depot, path: str, who: str = "Bearer one") -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        environ = {"PATH_INFO": path, "HTTP_AUTHORIZATION": who, "REMOTE_ADDR": "10.0.0.1"}
        self.body = depot(environ, self._start)

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, dict(headers)

    def close(self) -> None:
        getattr(self.body, "close", lambda: None)()


def answers(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"].endswith("broken"):
        raise OSError("broken")
    start_response("200 OK", [])
    return [b"x"]


def test_one_caller_has_its_share_and_others_theirs() -> None:
    depot = Depot(answers, transfers=4, of_one_caller=2)
    first = [Asked(depot, BLOB) for _ in range(3)]
    assert [one.status[:3] for one in first] == ["200", "200", "503"]
    assert first[2].headers["Retry-After"] == "2"
    others = [Asked(depot, BLOB, "Bearer two"), Asked(depot, BLOB, "Bearer three")]
    assert [one.status[:3] for one in others] == ["200", "200"]
    assert Asked(depot, BLOB, "Bearer four").status[:3] == "503"
    assert Asked(depot, TABLE).status[:3] == "200"  # what is small is served all the same
    first[0].close()
    first[0].close()  # calm when repeated: it counts once
    assert Asked(depot, BLOB, "Bearer four").status[:3] == "200"
    assert Asked(depot, BLOB, "Bearer five").status[:3] == "503"


def test_what_fails_gives_its_place_back() -> None:
    depot = Depot(answers, transfers=1, of_one_caller=1)
    with pytest.raises(OSError, match="broken"):
        Asked(depot, "/internal/v1/images/broken")
    assert Asked(depot, BLOB).status[:3] == "200"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A gunicorn with our settings in front of a small application; its port and the CA's file."""
    pool_ca.ensure(tmp_path, {"depot": "root"}, ["127.0.0.1", "localhost"], now=datetime.now(UTC))
    (tmp_path / "small.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    port = free_port_base()
    argv = [
        "-m",
        "gunicorn",
        "-c",
        "python:controlplane.serving.depot_server",
        "--no-control-socket",
    ]
    environ = {
        "PATH": "/usr/bin",
        "PYTHONPATH": f"{Path.cwd()}:{tmp_path}",
        "STOA_DEPOT_BIND": f"127.0.0.1:{port}",
        "STOA_DEPOT_CERT": str(tmp_path / "depot.crt"),
        "STOA_DEPOT_KEY": str(tmp_path / "depot.key"),
    }
    server = subprocess.Popen([sys.executable, *argv, "--workers", "1", "small"], env=environ)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port, tmp_path / "pool-ca.crt"
    finally:
        server.terminate()
        server.wait(20)


def ask(port: int, ca: Path | None) -> bytes:
    connection = connect(f"https://127.0.0.1:{port}", ca, timeout_seconds=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.slow
def test_agents_believe_the_pools_ca_and_no_other(
    served: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    port, ca = served
    assert ask(port, ca) == b"ok"
    other = tmp_path_factory.mktemp("other")
    pool_ca.ensure(other, {}, [], now=datetime.now(UTC))
    for wrong in (other / "pool-ca.crt", None):
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(port, wrong)


@pytest.mark.slow
def test_who_connects_and_says_half_a_word_does_not_keep_others_waiting(
    served: tuple[int, Path],
) -> None:
    port, ca = served
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            silent.sendall(b"\x16\x03\x01")
        began = time.monotonic()
        assert ask(port, ca) == b"ok"
        assert time.monotonic() - began < 5
