"""A small recorded world, hands that act in memory, and an agent process on a broker of its own."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import redis
from django.db.models.functions import Now

from tenants.catalogue.models import App, Plan, Release
from tenants.operations.models import Operation
from tenants.pool.models import Edge, Host, HostReport
from tenants.shops import signups
from tenants.shops.models import Tenant
from tenants.shops.signups import SignUpForm
from tests.support.fake_driver import FakeDriver
from tests.support.transactions import watched
from tests.support.working import work
from workers.broker import queues
from workers.flows.clients import Clients
from workers.flows.steps import routing
from workers.rpc.edge_types import EdgeSeat, InFlight, RouteMessage, Spread

DIGEST = "sha256:" + "1" * 64
MIB = 1024 * 1024
_owners = itertools.count(1)


@dataclass
class MemoryEdges:
    """Edges that keep what they were told; those in `deaf` do not answer, those in `refusing` refuse.

    busy: requests in flight by route value. told: every route in the order it was told.
    """

    routes: dict[str, str] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    busy: dict[str, int] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    @watched
    def apply(self, edges: Collection[EdgeSeat], routes: Sequence[RouteMessage]) -> Spread:
        for route in routes:
            self.routes[route.hostname] = route.value
            self.told.append((route.hostname, route.value))
        live = {edge.name for edge in edges if edge.is_live} - self.deaf - self.refusing
        return Spread(
            acknowledged=frozenset(live),
            failures=tuple(
                f"edge {edge.name}: silent"
                for edge in edges
                if edge.is_ready and edge.name not in live
            ),
            refused=tuple(f"edge {name}: no such port" for name in sorted(self.refusing)),
        )

    @watched
    def in_flight(self, edges: Collection[EdgeSeat], value: str) -> InFlight:
        silent = tuple(
            f"edge {e.name}: silent" for e in edges if e.is_ready and e.name in self.deaf
        )
        return InFlight(self.busy.get(value, 0), silent)


@dataclass
class World:
    """One host, one edge, one app; and what a test does again and again."""

    host: Host
    edge: Edge
    driver: FakeDriver
    edges: MemoryEdges
    clients: Clients

    def sign_up(self, slug: str = "acme") -> Operation:
        return signups.sign_up(
            SignUpForm(
                slug=slug, shop_name=f"Shop {slug}", email=f"owner-{next(_owners)}@example.com"
            )
        ).operation

    def run(self, operation: Operation) -> str:
        """One go of a worker; the pause before a repeat is over at once."""
        Operation.objects.filter(pk=operation.pk).update(run_after=Now())
        told = work(operation.pk, self.clients)
        operation.refresh_from_db()
        return told

    def live_tenant(self, slug: str = "acme") -> Tenant:
        operation = self.sign_up(slug)
        assert self.run(operation) == "done"
        return Tenant.objects.get(pk=operation.tenant_id)


def make_host(name: str = "local", *, memory_mib: int = 1000, is_seen: bool = True) -> Host:
    host = Host.objects.create(
        name=name,
        address="100.96.0.1",
        capacity_cpu_millis=100_000,
        capacity_memory_bytes=memory_mib * MIB,
        capacity_disk_bytes=10**12,
        broker_secret_sha256=sha256(name.encode()).hexdigest(),
        token_sha256="0" * 64,
    )
    if is_seen:
        HostReport.objects.create(
            host=host, seen_at=Now(), boot_id="b", sequence=1, digest="d", inventory=[]
        )
    return host


def make_edge(name: str = "local") -> Edge:
    return Edge.objects.create(
        name=name,
        broker_secret_sha256=sha256(name.encode()).hexdigest(),
        token_sha256="0" * 64,
        check_url="http://127.0.0.1:1",
        seen_at=Now() + timedelta(hours=1),  # heard all the time, however slow the machine is
        is_synced=True,
    )


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(routing, "PASS_SECONDS", 0.0)
    return make_world()


def make_world() -> World:
    """One host, one edge, one plan and one release, in the database and in memory."""
    Plan.objects.create(
        slug="starter",
        name_en="Starter",
        name_ja="Starter",
        price_minor=500,
        cpu_millis=1000,
        memory_bytes=64 * MIB,
        pids=64,
        disk_bytes=256 * MIB,
    )
    app = App.objects.create(slug="shop", name="Shop")
    Release.objects.create(
        app=app,
        number=1,
        image_digest=DIGEST,
        image_name="shop",
        prior_cpu_millis=1000,
        prior_memory_bytes=64 * MIB,
    )
    driver, edges = FakeDriver(), MemoryEdges()
    clients = Clients(
        driver_for=lambda _host: driver,
        edges=edges,
        look=lambda _edge, hostname, _path: 200 if edges.routes.get(hostname) else 404,
    )
    return World(make_host(), make_edge(), driver, edges, clients)


@dataclass
class AgentProcess:
    """A host agent with a driver in memory, as a process of its own."""

    name: str
    control_url: str
    state_dir: Path
    process: subprocess.Popen[bytes]
    start: Callable[[], subprocess.Popen[bytes]]

    def kill(self) -> None:
        """End it and its whole group without a chance to say anything."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def restart(self) -> None:
        self.process = self.start()
        self.wait_for_report()

    def wait_for_report(self, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        with redis.Redis.from_url(self.control_url) as client:
            while not client.exists(queues.report_key(queues.host_queue(self.name))):
                assert self.process.poll() is None, "the agent ended"
                assert time.monotonic() < deadline, "the agent does not report"
                time.sleep(0.05)


@pytest.fixture(scope="session")
def make_agent(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., AgentProcess]]:
    """Start agents with a broker user of their own; extra goes into their environment."""
    made: list[AgentProcess] = []

    def make(name: str, **extra: str) -> AgentProcess:
        state_dir = tmp_path_factory.mktemp(name)
        queue = queues.host_queue(name)
        with redis.Redis.from_url(redis_url) as client:
            rules = queues.broker_acl(queue, sha256(b"secret").hexdigest())
            client.execute_command("ACL", "SETUSER", queue, *rules)
        env = {
            **os.environ,
            "STOA_DRIVER": "tests.support.fake_driver:FakeDriver",
            "STOA_HOST_NAME": name,
            "STOA_HOST_STATE": str(state_dir),
            "STOA_BROKER_URL": redis_url.replace("control:only-for-tests", f"{queue}:secret"),
            **extra,
        }

        def start() -> subprocess.Popen[bytes]:
            with (state_dir / "log").open("ab") as log:
                return subprocess.Popen(
                    [
                        *(sys.executable, "-m", "celery", "-A", "tests.workers.fake_agent:app"),
                        *("worker", "-Q", queue, "-n", f"{queue}@%h", "--pool", "threads"),
                        *("-c", "8", "--without-gossip", "--without-mingle"),
                        *("--without-heartbeat", "--loglevel", "WARNING"),
                    ],
                    env=env,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

        agent = AgentProcess(name, redis_url, state_dir, start(), start)
        made.append(agent)
        agent.wait_for_report()
        return agent

    yield make
    for agent in made:
        if agent.process.poll() is None:
            agent.kill()


@pytest.fixture(scope="session")
def agent(make_agent: Callable[..., AgentProcess]) -> AgentProcess:
    """The run's own agent `remote`."""
    return make_agent("remote")
