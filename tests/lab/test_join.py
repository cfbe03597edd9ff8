"""Machines join a real Stoa: namespaces with a cable to it, over TLS, killed in between, refused."""

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.stoa import REPO, Stack, running

pytestmark = [pytest.mark.lab, pytest.mark.stack, pytest.mark.slow]
STEPS_KILLED_AT = ["making the store", "joining as", "fetching image", "starting keeper"]


def run(*argv: str) -> None:
    said(*argv)


def said(*argv: str) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
    return done.stdout


class Machine:
    """A network namespace that can be a host: an address on the bridge, and a directory of its own."""

    def __init__(self, pool: "Pool", number: int) -> None:
        self.name = f"m{number}"
        self.address = f"{pool.network}.{10 + number}"
        self.scope = f"{pool.stack.scope}{self.name}"
        self.netns = f"{pool.stack.scope}-{self.name}"
        self.var = pool.stack.home / self.name
        self._pool = pool
        cable = f"jc{secrets.token_hex(4)}-{number}"
        run("ip", "netns", "add", self.netns)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self.netns)
        run("ip", "link", "set", cable, "master", pool.bridge, "up")
        self.do("ip", "link", "set", "lo", "up")
        self.do("ip", "address", "add", f"{self.address}/22", "dev", "eth0")
        self.do("ip", "link", "set", "eth0", "up")
        self.do("ip", "route", "add", "default", "via", pool.address)

    def do(self, *argv: str) -> None:
        run("nsenter", f"--net=/run/netns/{self.netns}", *argv)

    def argv(self, *words: str) -> list[str]:
        stoa = [str(REPO / "bin/stoa"), "host", *words, "--var", str(self.var)]
        return ["nsenter", f"--net=/run/netns/{self.netns}", *stoa]

    def join_argv(self, token: str, *more: str) -> list[str]:
        # All memory: what others on this machine use counts as used on each of its hosts.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        amounts = ["--store-bytes", "512M", "--cpu-millis", "2000", "--memory-bytes", str(memory)]
        whom = [self._pool.url, "--token", token, "--name", self.name, "--scope", self.scope]
        return self.argv("join", *whom, *amounts, *more)

    def join(self, token: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return self._run(self.join_argv(token, *more))

    def leave(self, *more: str) -> "subprocess.CompletedProcess[str]":
        return self._run(self.argv("leave", *more))

    def join_and_kill(self, token: str, step: str) -> None:
        """Join, and be killed with everything it started as soon as it says it begins this step."""
        joining = subprocess.Popen(
            self.join_argv(token),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=_clean(),
            start_new_session=True,
        )
        assert joining.stderr
        for line in joining.stderr:
            if step in line:
                os.killpg(joining.pid, signal.SIGKILL)
                break
        joining.wait(30)
        assert joining.returncode == -signal.SIGKILL, f"it never came to {step!r}"

    def take_away(self) -> None:
        """Whatever a test has left of it."""
        if (self.var / "host.env").exists():
            self.leave("--anyway", "--purge", "--yes")
        subprocess.run(["ip", "netns", "delete", self.netns], check=False)
        shutil.rmtree(self.var, ignore_errors=True)

    def _run(self, argv: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=150, env=_clean()
        )


def _clean() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}


class Pool:
    """A Stoa that other machines reach at an address of a bridge, and those machines."""

    def __init__(self, stack: Stack, address: str) -> None:
        self.stack, self.address = stack, address
        self.network = address.rpartition(".")[0]
        # "4: sb-1a2b inet 198.18.0.1/22 …"
        self.bridge = said("ip", "-o", "address", "show", "to", f"{address}/32").split()[1]
        self.url = f"https://{self.address}:{stack.port + 6}"
        self.hosts_of_its_own = sorted(self.hosts())
        self.machines: list[Machine] = []

    def close(self) -> None:
        """The Stoa is as it was."""
        removed = self.stack.api.delete("/api/v1/tenants/joined")
        if removed.status_code == httpx.codes.ACCEPTED:
            self.stack.wait(removed.json()["operation"]["id"])
        for machine in self.machines:
            machine.take_away()

    @contextmanager
    def cordoned(self) -> Iterator[None]:
        """Its own hosts take no shop meanwhile: only those that joined do."""
        try:
            for host in self.hosts_of_its_own:
                self.stack.api.post(f"/api/v1/hosts/{host}/cordon")
            yield
        finally:
            for host in self.hosts_of_its_own:
                self.stack.api.post(f"/api/v1/hosts/{host}/uncordon")

    def machine(self) -> Machine:
        self.machines.append(Machine(self, len(self.machines) + 1))
        return self.machines[-1]

    def token(self) -> str:
        made = self.stack.api.post("/api/v1/host-tokens", json={"labels": {"rack": "b4"}})
        assert made.status_code == httpx.codes.CREATED, made.text
        return str(made.json()["token"])

    def hosts(self) -> dict[str, dict[str, object]]:
        rows = self.stack.api.get("/api/v1/hosts").json()["results"]
        return {row["name"]: row for row in rows}

    def broker_users(self) -> set[str]:
        script = (
            "from workers.broker.commands import broker; import json;"
            "print(json.dumps([u.decode() for u in broker().execute_command('ACL', 'USERS')]))"
        )
        said = self.stack.run("manage.py", "shell", "-v0", "-c", script)
        return {word.strip('", []') for word in said.strip().splitlines()[-1].split(",")}


@pytest.fixture(scope="module", params=["lab", pytest.param("alone", marks=pytest.mark.long)])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """The lab; or a Stoa of one host that was told the address it is to be reached at."""
    with ExitStack() as last:
        if request.param == "lab":
            stack = request.getfixturevalue("lab_of_all").stack
            address = stack.env["STOA_LAB_SUBNET"].rpartition(".")[0] + ".1"
        else:
            bridge = f"jb{secrets.token_hex(4)}"
            address = f"198.19.{secrets.randbelow(62) * 4}.1"
            run("ip", "link", "add", bridge, "type", "bridge")
            last.callback(run, "ip", "link", "delete", bridge)
            run("ip", "address", "add", f"{address}/22", "dev", bridge)
            run("ip", "link", "set", bridge, "up")
            # The /24 of that address is what an edge routes to by itself.
            stack = last.enter_context(contextmanager(running)("j", STOA_POOL_ADDRESS=address))
        pool = Pool(stack, address)
        last.callback(pool.close)
        yield pool


def test_a_join_that_is_killed_anywhere_ends_when_it_is_repeated(pool: Pool) -> None:
    machine, token = pool.machine(), pool.token()
    for step in STEPS_KILLED_AT:
        machine.join_and_kill(token, step)
    done = machine.join(token)
    assert done.returncode == 0, done.stderr
    assert f"{machine.name} is a host of the pool" in done.stdout
    host = pool.hosts()[machine.name]
    assert (host["address"], host["labels"]) == (machine.address, {"rack": "b4"})
    assert host["is_heard"]
    assert sorted(pool.hosts()) == sorted([*pool.hosts_of_its_own, machine.name])


def test_a_shop_on_a_joined_host_is_served_and_keeps_it_in_the_pool(pool: Pool) -> None:
    (machine,) = pool.machines
    with pool.cordoned():
        made = pool.stack.sign_up("joined")
        ended = pool.stack.wait(made["operation"]["id"])
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert pool.stack.get("joined", "/healthz").status_code == httpx.codes.OK
    assert pool.hosts()[machine.name]["instances"] == 1
    refused = machine.leave()
    assert (refused.returncode, "holds 1 shop" in refused.stderr) == (1, True), refused.stderr
    assert pool.stack.get("joined", "/healthz").status_code == httpx.codes.OK


def test_another_machine_is_refused_with_that_token_and_told_every_reason(pool: Pool) -> None:
    used = pool.token()
    first, second = pool.machine(), pool.machine()
    refused = first.join(used, "--address", "203.0.113.9")
    assert refused.returncode == 1
    assert "no interface of this machine has 203.0.113.9" in refused.stderr
    assert "STOA_EDGE_NETWORKS" in refused.stderr
    assert "the token is still good" in refused.stderr
    assert first.join(used).returncode == 0
    refused = second.join(used)
    assert (refused.returncode, "another machine has used this join token" in refused.stderr) == (
        1,
        True,
    )
    assert second.name not in pool.hosts()
    assert not (second.var / "host.env").exists()


def test_no_secret_of_a_join_is_logged(pool: Pool) -> None:
    secrets = [
        file.read_text().strip() for one in pool.machines for file in one.var.glob("secrets/host-*")
    ]
    assert secrets
    logs = [
        *pool.stack.var.glob("logs/*.log"),
        *(log for one in pool.machines for log in one.var.glob("logs/*")),
    ]
    for log in logs:
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log


def test_one_that_leaves_leaves_nothing(pool: Pool) -> None:
    machine = pool.machines[1]
    assert f"host.{machine.name}" in pool.broker_users()
    done = machine.leave("--purge", "--yes")
    assert done.returncode == 0, done.stderr
    assert machine.name not in pool.hosts()
    assert f"host.{machine.name}" not in pool.broker_users()
    assert not list(machine.var.glob("secrets/*"))
    left = subprocess.run(
        ["nsenter", f"--net=/run/netns/{machine.netns}", "ip", "-o", "link"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert [line.split(":")[1].split("@")[0].strip() for line in left.splitlines()] == [
        "lo",
        "eth0",
    ]
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{machine.scope}_*"))
    again = machine.leave()
    assert (again.returncode, "no joined host" in again.stderr) == (1, True)
