"""Things are killed in the middle of the work: every sign-up still ends in one running shop."""

import itertools
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest
import redis

from tests.stoa import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SHOPS = 6
BOUND_SECONDS = 60
_numbers = itertools.count(1)


def containers(stack: Stack) -> Counter[str]:
    """How many containers each tenant has, by the processes in this Stoa's cgroups alone."""
    found: Counter[str] = Counter()
    for pid in pids_in_cgroups(stack):
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{pid}/status").read_text()
            inside = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            tenant = next(v for v in environ if v.startswith(b"STOA_TENANT="))
            # The first process of a container has a process id of its own space, and it is 1.
            if len(inside.split()) > 2 and inside.split()[-1] == "1":
                found[tenant.partition(b"=")[2].decode()] += 1
    return found


def pids_in_cgroups(stack: Stack, instance: str = "*") -> set[int]:
    pids: set[int] = set()
    for folder in cgroups_of(stack, instance):
        with suppress(OSError):
            pids |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
    return pids


def cgroups_of(stack: Stack, instance: str = "*") -> list[Path]:
    root = Path("/sys/fs/cgroup")
    parent = f"{stack.scope}_local"
    return [*root.glob(f"{parent}/{instance}/"), *root.glob(f"*/{parent}/{instance}/")]


@pytest.fixture
def slugs(stack: Stack) -> Iterator[list[str]]:
    """Names for some shops, which are removed again afterwards."""
    mark = next(_numbers)
    names = [f"kill-{mark}-{n}" for n in range(SHOPS)]
    yield names
    for name in names:
        stack.api.delete(f"/api/v1/tenants/{name}")
    wait_until(lambda: not set(names) & containers(stack).keys(), "the shops are gone")


def wait_until(is_true: Callable[[], object], what: str, *, seconds: float = BOUND_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not after {seconds} s: {what}"
        time.sleep(0.05)


def sign_up_all(stack: Stack, slugs: list[str]) -> list[dict[str, Any]]:
    """Sign all shops up at once; their operations."""
    with ThreadPoolExecutor(len(slugs)) as pool:
        return [answer["operation"] for answer in pool.map(stack.sign_up, slugs)]


def active_step(stack: Stack, operation: dict[str, Any]) -> str:
    answer = stack.api.get(f"/api/v1/operations/{operation['id']}").json()
    return next((step["name"] for step in answer["steps"] if step["state"] == "active"), "")


@contextmanager
def hanging(stack: Stack, program: str) -> Iterator[None]:
    """The program stands still, and goes on afterwards."""
    pid = stack.pid(program)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def all_in_the_middle_of_a_start(stack: Stack, slugs: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Every shop's operation has called the host, and none has an answer until the block ends."""
    with hanging(stack, "host-agent"):
        opened = sign_up_all(stack, slugs)
        wait_until(
            lambda: all(active_step(stack, operation) == "start" for operation in opened),
            "all shops are at their start",
            seconds=20,
        )
        yield opened


def assert_all_run_once(
    stack: Stack, slugs: list[str], opened: list[dict[str, Any]], began: float
) -> None:
    """Every operation succeeds within the bound, and every shop is one container that answers."""
    for operation in opened:
        left = max(1.0, BOUND_SECONDS - (time.monotonic() - began))
        ended = stack.wait(operation["id"], seconds=left)
        assert ended["state"] == "succeeded", ended
    assert {slug: containers(stack)[slug] for slug in slugs} == dict.fromkeys(slugs, 1)
    for slug in slugs:
        assert stack.get(slug).status_code == httpx.codes.OK, slug


def test_a_control_worker_killed_in_the_middle(stack: Stack, slugs: list[str]) -> None:
    with all_in_the_middle_of_a_start(stack, slugs) as opened:
        began = time.monotonic()
        stack.kill("control")
    assert_all_run_once(stack, slugs, opened, began)


@pytest.mark.long
def test_a_control_worker_killed_again_and_again(stack: Stack, slugs: list[str]) -> None:
    opened = sign_up_all(stack, slugs)
    began = time.monotonic()
    for pause in (0.0, 2.0, 2.5):
        wait_until(lambda: stack.pid("control"), "the control worker is back")
        time.sleep(pause)
        stack.kill("control")
    assert_all_run_once(stack, slugs, opened, began)


def test_a_host_agent_killed_in_the_middle_of_a_start(stack: Stack, slugs: list[str]) -> None:
    agent = stack.pid("host-agent")
    earlier = {folder.name for folder in cgroups_of(stack)}
    with ThreadPoolExecutor(1) as pool:
        signing_up = pool.submit(sign_up_all, stack, slugs)
        wait_until(
            lambda: {folder.name for folder in cgroups_of(stack)} - earlier,
            "a container is being made",
            seconds=20,
        )
        began = time.monotonic()
        os.kill(agent, signal.SIGKILL)
        opened = signing_up.result()
    assert any(active_step(stack, operation) for operation in opened), "the kill came too late"
    assert_all_run_once(stack, slugs, opened, began)


def test_redis_flushed_and_restarted_with_operations_open(stack: Stack, slugs: list[str]) -> None:
    with all_in_the_middle_of_a_start(stack, slugs) as opened:
        began = time.monotonic()
        with redis_of(stack) as client:
            client.flushall()
        stack.kill("redis")
    assert_all_run_once(stack, slugs, opened, began)


def test_a_redis_that_is_flushed_loses_time_only(stack: Stack, slugs: list[str]) -> None:
    with all_in_the_middle_of_a_start(stack, slugs) as opened:
        began = time.monotonic()
        with redis_of(stack) as client:
            client.flushall()
    assert_all_run_once(stack, slugs, opened, began)


def test_an_edge_agent_killed_in_the_middle(stack: Stack, slugs: list[str]) -> None:
    with all_in_the_middle_of_a_start(stack, slugs) as opened:
        began = time.monotonic()
        stack.kill("edge-agent")
    assert_all_run_once(stack, slugs, opened, began)


@pytest.mark.long
def test_a_host_agent_that_hangs_is_waited_for(stack: Stack, slugs: list[str]) -> None:
    with all_in_the_middle_of_a_start(stack, slugs) as opened:
        began = time.monotonic()
        time.sleep(15)  # its report is old by then, and calls to it are refused
    assert_all_run_once(stack, slugs, opened, began)


def test_a_shop_whose_container_is_killed_behind_our_back_comes_back(stack: Stack) -> None:
    operation = stack.sign_up("killed-shop")["operation"]
    assert stack.wait(operation["id"])["state"] == "succeeded"
    instance = instance_of(stack, "killed-shop")
    for pid in pids_in_cgroups(stack, instance):
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    wait_until(
        lambda: stack.get("killed-shop").status_code == httpx.codes.OK, "the shop answers again"
    )
    assert containers(stack)["killed-shop"] == 1
    remove(stack, "killed-shop")


def test_a_removed_shop_leaves_nothing_on_the_machine(stack: Stack) -> None:
    volumes = volumes_of(stack)
    operation = stack.sign_up("leaves-nothing")["operation"]
    assert stack.wait(operation["id"])["state"] == "succeeded"
    shop = Traces(stack, "leaves-nothing", instance_of(stack, "leaves-nothing"))
    (shop.volume,) = volumes_of(stack) - volumes
    before = shop.found()
    wanted = {"processes", "cgroups", "device", "route", "nft", "files", "volume", "edge"}
    assert before.keys() >= wanted, f"looks in the wrong place for {wanted - before.keys()}"
    remove(stack, "leaves-nothing")
    assert shop.found() == {}
    assert stack.get("leaves-nothing").status_code == httpx.codes.NOT_FOUND


def test_a_removal_beats_a_sign_up_that_is_stuck(stack: Stack) -> None:
    stack.stop("host-agent")
    try:
        stack.sign_up("stuck-shop")
        time.sleep(1)
        answer = stack.api.delete("/api/v1/tenants/stuck-shop")
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    finally:
        stack.start("host-agent")
    ended = stack.wait(answer.json()["operation"]["id"])
    assert ended["state"] == "succeeded", ended
    assert containers(stack)["stuck-shop"] == 0


def redis_of(stack: Stack) -> redis.Redis:
    password = (stack.var / "secrets" / "redis-control").read_text().strip()
    return redis.Redis(port=stack.port + 1, username="control", password=password)


def remove(stack: Stack, slug: str) -> None:
    answer = stack.api.delete(f"/api/v1/tenants/{slug}")
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    ended = stack.wait(answer.json()["operation"]["id"])
    assert ended["state"] == "succeeded", ended


def instance_of(stack: Stack, slug: str) -> str:
    """The instance's id, from the names of cgroups that hold a process of the tenant."""
    for folder in cgroups_of(stack):
        for pid in pids_in_cgroups(stack, folder.name):
            with suppress(OSError):
                environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if f"STOA_TENANT={slug}".encode() in environ:
                    return folder.name
    raise AssertionError(f"no process of {slug} is in any cgroup of {stack.scope}")


class Traces:
    """Everything on the machine that belongs to one shop, found by looking and not by asking Stoa."""

    def __init__(self, stack: Stack, slug: str, instance: str) -> None:
        self.stack, self.slug, self.instance = stack, slug, instance
        self.volume = Path("/nowhere")
        row = next(
            line
            for line in stack.run("python", "-m", "runtime", "ps").splitlines()
            if instance in line
        )
        found = re.search(r":(\d+)->([\d.]+):", row)
        assert found, row
        self.port, self.address = int(found[1]), re.escape(found[2])

    def found(self) -> dict[str, object]:
        """What there is, by kind; a kind of which nothing is found is left out."""
        # Interface names hold a hash of scope and host: other Stoas on the machine have their own.
        mark = crc32(f"{self.stack.scope}/local".encode()) & 0xFFFF
        device = re.search(rf"v{mark:04x}-{self.port:x}\b", _output("ip", "-o", "link"))
        routes = _output("ip", "route", "show", "table", "all")
        rules = _output("nft", "list", "table", "inet", f"{self.stack.scope}_local")
        everything: dict[str, object] = {
            "processes": pids_in_cgroups(self.stack, self.instance),
            "cgroups": cgroups_of(self.stack, self.instance),
            "device": device and device[0],
            "route": re.findall(rf"^{self.address} .*", routes, re.M),
            "nft": re.findall(rf"{self.port} : {self.address}\b", rules),
            "mounts": re.findall(rf".*{self.instance}.*", _mounts_everywhere()),
            # The tombstone stays: it is what refuses a late worker, and holds a number.
            "files": [
                path
                for path in (self.stack.var / "host").rglob(f"*{self.instance}*")
                if path.parent.name != "fences"
            ],
            "volume": self.volume.exists(),
            "edge": self.stack.get(self.slug).status_code == httpx.codes.OK,
        }
        return {kind: what for kind, what in everything.items() if what}


def volumes_of(stack: Stack) -> set[Path]:
    host = stack.var / "host"
    return {*host.glob("store/*/data"), *host.glob("volumes/*")}


def _mounts_everywhere() -> str:
    """The mount tables of this process and of the keeper's family, which may have one of its own."""
    tables = set()
    for path in Path("/proc").glob("[0-9]*/mounts"):
        with suppress(OSError):
            tables.add(path.read_text())
    return "\n".join(tables)


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout
