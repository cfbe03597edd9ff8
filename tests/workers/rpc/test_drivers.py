"""RemoteDriver keeps every driver promise over a real broker and a real agent, in bounded time."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median

import pytest
import redis

from runtime.driver import Driver
from runtime.edge.probe import ProbeTarget
from runtime.errors import (
    DataMissingError,
    HostOutdatedError,
    HostUnreachableError,
    OutcomeUnknownError,
    RuntimeCoreError,
)
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState, InstanceStatus
from runtime.units import MIB, Limits
from runtime.volume_requests import VolumeLoad, VolumePart
from runtime.wire import JsonValue, from_wire
from tests import servers
from tests.runtime.promises.driver import DriverPromises
from tests.runtime.promises.subject import FIRST, Subject
from tests.workers.conftest import AgentProcess
from workers.rpc import client as calls
from workers.rpc import drivers
from workers.rpc.client import AgentCall, Caller
from workers.rpc.drivers import RemoteDriver
from workers.rpc.edge_types import EdgeSeat

DIGEST = "sha256:" + "1" * 64
_PART = VolumePart("snp_00000001", "0" * 64, 10, "/archive")
_rounds = itertools.count(1)


class RemoteSubject(Subject):
    def __init__(self, agent: AgentProcess, caller: Caller) -> None:
        self.agent = agent
        self.driver: Driver = RemoteDriver(caller, agent.name)
        self.spares: dict[str, bool] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.round = next(_rounds)
        self._tell()

    def _tell(self) -> None:
        told = {"round": self.round, "digest": DIGEST, "spares": self.spares}
        told["writes"] = self.writes
        new = self.agent.state_dir / "told.new"
        new.write_text(json.dumps(told))
        new.replace(self.agent.state_dir / "told.json")

    def spare_image(self, *, is_young: bool = False) -> str:
        digest = f"sha256:{next(_rounds):064x}"
        self.spares[digest] = is_young
        self._tell()
        self.driver.ensure_image(digest)
        return digest

    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        mode = changes.pop("mode", "")
        values: dict[str, object] = {
            "instance_id": f"ins_test{number:06d}",
            "tenant": f"shop-{number}",
            "image_digest": DIGEST,
            "published_port": 21000 + number,
            "ceilings": Limits(1000, 64 * MIB, 64, 100 * MIB),
            "env": (("STOA_FAKE", mode),) if mode else (),
            "new_volume": True,
            **changes,
        }
        return InstanceSpec(**values)  # type: ignore[arg-type]

    def volume_exists(self, name: str) -> bool:
        return name in self._contents()

    def write(self, volume: str, name: str, content: bytes) -> None:
        self.writes.append((volume, name, content.hex()))
        self._tell()

    def read(self, volume: str) -> dict[str, bytes]:
        return {name: bytes.fromhex(one) for name, one in self._contents()[volume].items()}

    def _contents(self) -> dict[str, dict[str, str]]:
        told: dict[str, dict[str, str]] = json.loads(
            (self.agent.state_dir / "volumes.json").read_text()
        )
        return told


@pytest.fixture(scope="module")
def caller(redis_url: str) -> Iterator[Caller]:
    caller = Caller(redis_url)
    yield caller
    caller.close()


@pytest.fixture
def subject(agent: AgentProcess, caller: Caller) -> RemoteSubject:
    return RemoteSubject(agent, caller)


class TestRemoteDriver(DriverPromises):
    @pytest.fixture
    def subject(self, subject: RemoteSubject) -> RemoteSubject:
        return subject


def test_a_call_waits_for_no_clock(subject: RemoteSubject) -> None:
    subject.driver.ensure_running(subject.spec(), fence=FIRST)
    took = []
    for _ in range(100):
        began = time.perf_counter()
        subject.driver.status(subject.spec().instance_id)
        took.append((time.perf_counter() - began) * 1000)
    print(f"round trip p50 {median(took):.1f} ms, p95 {sorted(took)[94]:.1f} ms")
    # Milliseconds; whatever looked for an answer now and then would need its pause each time.
    assert median(took) < 250


def test_many_calls_at_once_are_all_answered(subject: RemoteSubject) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(
            pool.map(
                lambda n: subject.driver.ensure_running(subject.spec(n), fence=FIRST).instance_id,
                range(40),
            )
        )
    assert found == [subject.spec(n).instance_id for n in range(40)]


def test_no_answer_is_left_on_the_broker(subject: RemoteSubject, redis_url: str) -> None:
    subject.driver.status(subject.spec().instance_id)
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("celery-task-meta-*") == []


def test_a_host_that_never_reported_is_refused_at_once(caller: Caller) -> None:
    began = time.monotonic()
    with pytest.raises(HostUnreachableError, match="has not reported"):
        RemoteDriver(caller, "nowhere").list()
    assert time.monotonic() - began < 2.5, "the 3 s for accepting were not waited for"


def test_a_host_that_reported_long_ago_is_refused_at_once(caller: Caller, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("report.host.late", '{"v": 1, "boot_id": "b"}', ex=15)
    with pytest.raises(HostUnreachableError, match="last reported 15 s ago"):
        RemoteDriver(caller, "late").list()


def test_a_call_that_nobody_answers_ends_with_its_run_limit(caller: Caller, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("report.host.mute", '{"v": 1, "boot_id": "b"}', ex=30)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="did not answer in time"):
            caller.ask(AgentCall("host.mute", "list", {}, run_limit=0.5))
        assert time.monotonic() - began < calls.ACCEPT_SECONDS + 1
        client.delete("report.host.mute", "host.mute")


def test_an_agent_that_is_killed_in_the_middle_ends_the_wait_when_it_is_back(
    make_agent: Callable[..., AgentProcess], caller: Caller
) -> None:
    agent = make_agent("mortal")
    subject = RemoteSubject(agent, caller)
    with ThreadPoolExecutor(1) as pool:
        slow = subject.spec(mode="slow", health_timeout_seconds=60.0)
        running = pool.submit(subject.driver.ensure_running, slow, fence=FIRST)
        time.sleep(0.7)
        agent.kill()
        agent.restart()
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="started anew"):
            running.result(30)
        assert time.monotonic() - began < calls.ACCEPT_SECONDS + 2
    assert subject.driver.ensure_running(slow, fence=Fence(1, 2)).state is ContainerState.RUNNING


def test_an_agent_that_makes_a_volume_for_everybody_starts_no_shop_that_may_have_data(
    make_agent: Callable[..., AgentProcess], caller: Caller
) -> None:
    subject = RemoteSubject(make_agent("older", STOA_FAKE_AGENT="older"), caller)
    driver, had, new = (
        subject.driver,
        subject.spec(1, volume="had", new_volume=False),
        subject.spec(2),
    )
    load = VolumeLoad(had.instance_id, "had", (_PART,), 1000, 0, 0, only_missing=True)
    for refused in (
        lambda: driver.ensure_running(had, fence=FIRST),
        lambda: driver.load_volume(load, fence=FIRST),
        lambda: driver.volumes_here(()),
    ):
        with pytest.raises(HostOutdatedError, match="update the host's agent"):
            refused()
    assert driver.list() == ()
    # One that never had data can lose none; neither can one that keeps nothing.
    assert driver.ensure_running(replace(new, volume="new"), fence=FIRST).healthy
    assert driver.ensure_running(subject.spec(3, new_volume=False), fence=FIRST).healthy
    assert driver.ensure_stopped(new.instance_id, fence=FIRST)
    assert subject.volume_exists("new")
    assert not subject.volume_exists("had")


def test_a_start_is_one_call_to_an_agent_of_today(
    agent: AgentProcess, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = RemoteSubject(agent, caller)
    asked: list[str] = []

    def counted(call: AgentCall, _ask: Callable[[AgentCall], JsonValue] = caller.ask) -> JsonValue:
        asked.append(call.name)
        return _ask(call)

    monkeypatch.setattr(caller, "ask", counted)
    new = subject.spec(1, volume="one")
    subject.driver.ensure_running(new, fence=FIRST)
    subject.driver.ensure_running(replace(new, new_volume=False), fence=FIRST)
    assert asked == ["ensure_running"] * 2
    with pytest.raises(DataMissingError):
        subject.driver.ensure_running(subject.spec(2, volume="two", new_volume=False), fence=FIRST)


@pytest.fixture
def frail_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A Redis that a test may stop or kill; its URL and process id."""
    url = f"redis://control:frail@127.0.0.1:{_free_port()}/0"
    with servers.redis_server(url), redis.Redis.from_url(url) as client:
        yield url, client.info("server")["process_id"]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_broker_that_is_gone_is_told_within_three_seconds() -> None:
    caller = Caller(f"redis://control:x@127.0.0.1:{_free_port()}/0")
    began = time.monotonic()
    with pytest.raises(HostUnreachableError):
        RemoteDriver(caller, "local").list()
    assert time.monotonic() - began < 3


def test_a_broker_that_hangs_is_told_within_three_seconds(frail_redis: tuple[str, int]) -> None:
    url, pid = frail_redis
    caller = Caller(url)
    with redis.Redis.from_url(url) as client:
        client.set("report.host.local", '{"v": 1, "boot_id": "b"}', ex=30)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(RuntimeCoreError):
            RemoteDriver(caller, "local").list()
        assert time.monotonic() - began < 3
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_broker_that_dies_during_a_call_ends_the_wait_at_once(redis_url: str) -> None:
    url = f"redis://control:frail@127.0.0.1:{_free_port()}/0"
    caller = Caller(url)
    server = servers.redis_server(url)
    server.__enter__()
    with redis.Redis.from_url(url) as client:
        client.set("report.host.local", '{"v": 1, "boot_id": "b"}', ex=30)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(caller.ask, AgentCall("host.local", "list", {}, run_limit=30.0))
        time.sleep(0.5)
        server.__exit__(None, None, None)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="went away"):
            running.result(10)
        assert time.monotonic() - began < 8


def test_a_broker_that_is_emptied_during_a_call_ends_the_wait(
    frail_redis: tuple[str, int],
) -> None:
    url, _ = frail_redis
    caller = Caller(url)
    with redis.Redis.from_url(url) as client, ThreadPoolExecutor(1) as pool:
        client.set("report.host.local", '{"v": 1, "boot_id": "b"}', ex=30)
        running = pool.submit(caller.ask, AgentCall("host.local", "list", {}, run_limit=30.0))
        time.sleep(0.5)
        client.flushall()
        client.set("report.host.local", '{"v": 1, "boot_id": "b"}', ex=30)  # the agent lives on
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="was emptied"):
            running.result(10)
        assert time.monotonic() - began < calls.ACCEPT_SECONDS + 1


def test_a_forged_answer_becomes_an_error_and_not_an_exception_of_its_choice() -> None:
    forged = [
        b"no json",
        b"[]",
        b'{"result": null}',
        b'{"result": {"v": 2, "ok": true}}',
        b'{"result": {"v": 1, "ok": false, "code": 7, "message": "m"}}',
        b'{"result": {"exc_type": "SystemExit", "exc_module": "builtins"}, "status": "FAILURE"}',
        b'{"result": {"v": 1, "ok": "yes"}}',
        b"x" * (calls.MAX_ANSWER_BYTES + 1),
        b"[" * 5000,
        b'{"result": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"result": {"v": 1, "ok": false, "code": "app", "message": "x", "details": {"self": 1}}}',
        b'{"result": {"v": 1, "ok": false, "code": "app", "message": "x", "details": {"message": 1}}}',
        b'{"result": {"v": 1, "ok": false, "code": "app", "message": "\\u0000\\ud800"}}',
        b"\xff\xfe",
    ]
    for data in forged:
        opened = calls._opened(data)
        assert isinstance(opened, RuntimeCoreError), data[:60]
        opened.message.encode()
        assert "\0" not in opened.message


def test_an_answer_that_is_nested_too_deeply_is_refused_wherever_it_is_read() -> None:
    deep: JsonValue = 1
    for _ in range(400):
        deep = [deep]
    opened = calls._opened(json.dumps({"result": {"v": 1, "ok": True, "value": deep}}).encode())
    with pytest.raises(RuntimeCoreError):
        from_wire(InstanceStatus, opened)


def test_one_edge_that_talks_nonsense_hides_no_other_edges_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = Caller("redis://127.0.0.1:1/0")
    answers: dict[str, object] = {
        "edge.one": {"reached": ["a"]},
        "edge.two": {"reached": [["b"]]},
        "edge.three": 7,
    }
    monkeypatch.setattr(caller, "ask_all", lambda *_, **__: answers)
    seats = [
        EdgeSeat(name, "http://x", is_live=True, is_ready=True) for name in ("one", "two", "three")
    ]
    assert drivers.HostProber(caller).probe(seats, [ProbeTarget("a", "127.0.0.1", 1)]) == {
        "one": {"a"}
    }


def test_an_unknown_code_is_a_fault_of_the_host() -> None:
    data = b'{"result": {"v": 1, "ok": false, "code": "new", "message": "m", "details": {"a": 1}}}'
    opened = calls._opened(data)
    assert isinstance(opened, RuntimeCoreError)
    assert (opened.code, opened.message, opened.details) == ("host", "m", {"a": 1})
