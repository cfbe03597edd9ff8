"""A Stoa of the benchmark's own: started by bin/up beside whatever else runs, purged afterwards."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from bench.parts.common import REPO, wait_for_200
from runtime.config import HostConfig

_DOMAIN = "localhost"
_PLAN = "starter"
_PORTS = range(10000, 32768)
_SUBNET = IPv4Network("100.103.0.0/16")
_LAB_SUBNET = "198.19.224.0/19"


@dataclass
class Stoa:
    """A running Stoa and the operations of the shops signed up by it, oldest first."""

    environment: Mapping[str, str]
    var: Path
    http_port: int
    token: str
    operations: list[str] = field(default_factory=list)

    @property
    def host(self) -> HostConfig:
        """Settings of its one host."""
        return HostConfig(
            "local", self.environment["STOA_SCOPE"], self.var / "host", _SUBNET, _PORTS
        )

    @property
    def supervisor(self) -> int:
        """The process all programs and shops of this Stoa descend from."""
        return int((self.var / "run" / "supervisord.pid").read_text())

    def start(self, number: int, every_seconds: float) -> float:
        """Sign up a shop; milliseconds from the POST to the first 200 of the shop through the edge."""
        slug = f"bench{number}"
        wanted = {
            "slug": slug,
            "shop_name": "Bench",
            "email": "bench@example.org",
            "plan": _PLAN,
            "language": "en",
        }
        begun = time.monotonic()
        answer = self.call("POST", "/api/v1/tenants", wanted)
        answered = wait_for_200(
            ("127.0.0.1", self.http_port),
            f"{slug}.{_DOMAIN}",
            "/healthz",
            every_seconds=every_seconds,
        )
        self.operations.append(str(answer["operation"]["id"]))
        return (answered - begun) * 1000

    def finished(self, operation: str) -> dict[str, Any]:
        """An operation as the API tells it, once it is over (seconds are those it took)."""
        for _ in range(200):
            found = self.call("GET", f"/api/v1/operations/{operation}")
            if found["state"] == "succeeded":
                return found
            time.sleep(0.1)
        raise SystemExit(f"operation {operation} is still {found['state']}")

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One call of the API, through the edge like everybody's."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        headers = {
            "Host": _DOMAIN,
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
        }
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:400]}")
        found: dict[str, Any] = json.loads(content)
        return found

    def running(self) -> int:
        """How many operations have succeeded (waits for each)."""
        return sum(1 for operation in self.operations if self.finished(operation))


@contextmanager
def stoa(
    *, hosts: int = 1, store_bytes: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[Stoa]:
    """A Stoa for as long as the block lasts; nothing of it is left afterwards, or this says so.

    hosts: this machine and so many less one network namespaces of it. store_bytes: of the store for shops'
    data, "" for what bin/up takes. settings: further STOA_ variables.
    """
    var = Path(tempfile.mkdtemp(prefix="stoa-bench-var-", dir="/var/tmp"))
    http_port, base = _free_ports()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("STOA_")},
        "STOA_VAR": str(var),
        "STOA_SCOPE": f"bench{os.getpid()}",
        "STOA_HTTP_PORT": str(http_port),
        "STOA_PORT_BASE": str(base),
        "STOA_SUBNET": str(_SUBNET),
        "STOA_PORTS": f"{_PORTS.start}-{_PORTS.stop - 1}",
        "STOA_HOSTS": str(hosts),
        **(settings or {}),
        "STOA_LAB_SUBNET": _LAB_SUBNET,
        "STOA_LAB_STORE_BYTES": "1G",
        **({"STOA_STORE_BYTES": store_bytes} if store_bytes else {}),
        "STOA_CACHE": os.environ.get("STOA_CACHE", str(REPO / "var" / "cache")),
    }
    try:
        _script(environment, "bin/up")
        token = (var / "operator-token").read_text().strip()
        yield Stoa(environment, var, http_port, token)
    finally:
        _script(environment, "bin/down", "--purge", "--yes")
        shutil.rmtree(var, ignore_errors=True)


def _script(environment: Mapping[str, str], *argv: str) -> None:
    done = subprocess.run(
        [str(REPO / argv[0]), *argv[1:]],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}")


def _free_ports() -> tuple[int, int]:
    """A public port and the base of the loopback ports, none of them in use."""
    for base in range(19800, 30000, 40):
        if all(_is_free(base + offset) for offset in range(8)):
            return base, base + 1
    raise SystemExit("no free loopback ports between 19800 and 30000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
