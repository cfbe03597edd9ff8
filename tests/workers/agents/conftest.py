"""Real agents as processes of their own, on a real Redis with the rights agents have."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis

from runtime.edge.config import EdgeConfig, edge_config
from runtime.edge.routes import EdgeRoute, digest
from runtime.statuses import InstanceStatus
from runtime.wire import JsonValue, from_wire
from tests.runtime.edge.conftest import Shop, free_port_base, wait_for
from workers.broker.queues import broker_acl, report_key
from workers.rpc.client import AgentCall, Caller

REPOSITORY = Path(__file__).parents[3]


class Broker:
    """A Redis that keeps nothing, as the platform runs it; it can be killed and started again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"redis://control:c@127.0.0.1:{port}/0"
        self.queues: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = (
            f"bind 127.0.0.1\nport {self.port}\nsave ''\nappendonly no\n"
            "user default off\nuser control on >c ~* &* +@all\n"
        )
        self._process = subprocess.Popen(
            ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self._process.stdin
        self._process.stdin.write(settings.encode())
        self._process.stdin.close()
        wait_for(self._answers)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def admit(self, queue: str) -> str:
        """Make the agent's user, as the control plane does; returns its URL."""
        if queue not in self.queues:
            self.queues.append(queue)
        secret = hashlib.sha256(b"p").hexdigest()
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", queue, *broker_acl(queue, secret))
        return f"redis://{queue}:p@127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url, socket_timeout=3)

    def report(self, queue: str) -> dict[str, object] | None:
        with self.client() as client:
            text = client.get(report_key(queue))
        return json.loads(text) if text else None

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class Program:
    """One program of ours as a process; its log is kept for the message of a failing test."""

    def __init__(self, *argv: str, environ: dict[str, str], log: Path) -> None:
        self.log = log
        self._stream = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=REPOSITORY,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", **environ},
            stdout=self._stream,
            stderr=self._stream,
        )

    def text(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(20)
        self._stream.close()
        return code


class Control:
    """What an edge asks the control plane for over HTTP. It has no images for hosts."""

    def __init__(self, port: int) -> None:
        self.routes: list[EdgeRoute] = []
        self.sequence = 0
        self.asked = 0
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                control.asked += 1
                right = (
                    self.path == "/internal/v1/edges/local/routes"
                    and self.headers["Authorization"] == "Bearer edge-token"
                )
                body = json.dumps(control.table()).encode()
                has_none = self.path.startswith("/internal/v1/images/")
                self.send_response(404 if has_none else 200 if right else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def table(self) -> dict[str, object]:
        return {
            "sequence": self.sequence,
            "digest": digest(self.routes),
            "routes": [[r.hostname, r.value, r.version] for r in self.routes],
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Site:
    """Broker, agents, HAProxy and control plane of one test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.base = free_port_base()
        self.broker = Broker(self.base + 1)
        self.caller = Caller(self.broker.url)
        self.programs: list[Program] = []
        self.closing: list[Callable[[], object]] = []
        token = home / "token"
        token.write_text("edge-token\n")
        self.environ = {
            "STOA_HOST_STATE": str(home / "host"),
            "STOA_EDGE_STATE": str(home / "edge"),
            "STOA_PORT_BASE": str(self.base),
            "STOA_HTTP_PORT": str(self.base + 6),
            "STOA_CONSOLE_HOST": "console.test",
            "STOA_EDGE_NETWORKS": "127.0.0.0/8",
            "STOA_PORTS": "10000-65535",
            "STOA_CONTROL_URL": f"http://127.0.0.1:{self.base + 2}",
            "STOA_AGENT_TOKEN_FILE": str(token),
            "STOA_DRIVER": "tests.support.fake_driver:FakeDriver",
        }

    @property
    def edge_config(self) -> EdgeConfig:
        return edge_config(self.environ, descriptors=20000)

    def run(self, *argv: str, name: str, **environ: str) -> Program:
        program = Program(*argv, environ={**self.environ, **environ}, log=self.home / f"{name}.log")
        self.programs.append(program)
        return program

    def agent(self, kind: str, *, wait: bool = True, queue: str = "") -> Program:
        queue = queue or f"{kind}.local"
        old = (self.broker.report(queue) or {}).get("boot_id")
        program = self.run(
            "-m",
            "workers.agents",
            kind,
            name=kind,
            STOA_BROKER_URL=self.broker.admit(queue),
        )
        if wait:
            self.until(lambda: self.boot_id(queue) not in (None, old), program)
        return program

    def haproxy(self, *, wait: bool = True) -> Program:
        program = self.run("-m", "workers.agents.edge.boot", name="haproxy")
        if wait:
            self.until(self.edge_config.socket_path.is_socket, program)
        return program

    def control(self) -> Control:
        control = Control(self.base + 2)
        self.closing.append(control.close)
        return control

    def shop(self, name: str) -> Shop:
        shop = Shop(name)
        self.closing.append(shop.close)
        return shop

    def boot_id(self, queue: str) -> object:
        return (self.broker.report(queue) or {}).get("boot_id")

    def until(self, condition: Callable[[], bool], program: Program, seconds: float = 20) -> None:
        try:
            wait_for(condition, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the program said:\n{program.text()[-3000:]}") from error

    def inventory(self, queue: str = "host.local") -> list[str]:
        """Ids of the instances that the agent's driver holds."""
        held = from_wire(tuple[InstanceStatus, ...], self.ask(queue, "list", run_limit=10))
        return [status.instance_id for status in held]

    def ask(
        self,
        queue: str,
        name: str,
        args: dict[str, JsonValue] | None = None,
        *,
        run_limit: float = 30,
        fence: tuple[int, int] | None = None,
    ) -> JsonValue:
        return self.caller.ask(AgentCall(queue, name, args or {}, run_limit, fence))

    def close(self) -> None:
        for program in self.programs:
            if program.log.name != "haproxy.log":
                program.process.kill()  # ending in peace takes a second; one test is about that
            program.end()
        self.caller.close()
        for close in self.closing:
            close()
        self.broker.kill()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.broker.start()
    yield made
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 20, "the programs were slow to end"


@pytest.fixture
def host(site: Site) -> Site:
    site.agent("host")
    return site
