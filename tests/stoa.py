"""A whole Stoa of the tests' own, started by the real bin/up on private ports and directories.

A test asks for the fixture `stack` and gets a Stoa that runs (started once per test run):

    stack.api            httpx.Client of the public API, as operator, through the edge
    stack.console_url    http://localhost:PORT     stack.shop_url("acme")  http://acme.localhost:PORT
    stack.get(slug, path)         one request to a shop through the edge
    stack.sign_up(slug, **more)   POST /api/v1/tenants; the answer's JSON
    stack.wait(operation_id)      until the operation has ended; its JSON
    stack.pid(program)            process id of a program under the supervisor (0: not running)
    stack.pids(*programs)         those of several, by name, asked for at once
    stack.kill(program)           SIGKILL; the supervisor starts it again
    stack.stop / start / restart(program)
    stack.run("python", "-m", "runtime", "ps")     a command inside its environment

Tests of several hosts ask for `lab` (tests/lab/): such a Stoa, started with further hosts.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from installer.supervising import programs as supervised

REPO = Path(__file__).resolve().parent.parent
_HOME_PREFIX = "stoa-stack-"


class Stack:
    """One Stoa: its environment, and what tests do to it. further: settings beside those of all tests."""

    def __init__(self, home: Path, **further: str) -> None:
        self.home = home
        self.var = home / "var"
        mark = home.name.removeprefix(_HOME_PREFIX)
        base = _free_ports(7)
        self.port = base
        self.scope = f"t{mark}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/root"),
            "LANG": "C.UTF-8",
            "STOA_VAR": str(self.var),
            "STOA_CACHE": os.environ.get("STOA_CACHE", str(REPO / "var" / "cache")),
            "STOA_HTTP_PORT": str(base),
            "STOA_PORT_BASE": str(base),
            "STOA_SCOPE": self.scope,
            "STOA_SUBNET": free_subnet(),
            "STOA_STORE_BYTES": "1536M",
            # How full the disk of the machine is that runs the tests is not what they are about.
            "STOA_DISK_LOW_PERCENT": "99",
            "STOA_DISK_FULL_PERCENT": "100",
            **further,
        }
        self.console_url = f"http://localhost:{self.port}"
        self._api: httpx.Client | None = None

    @property
    def api(self) -> httpx.Client:
        """Speaks to the public API through the edge, as operator."""
        if self._api is None:
            token = (self.var / "operator-token").read_text().strip()
            self._api = httpx.Client(
                base_url=f"http://127.0.0.1:{self.port}",
                headers={"Host": f"localhost:{self.port}", "Authorization": f"Bearer {token}"},
                timeout=20,
                trust_env=False,
            )
        return self._api

    def shop_url(self, slug: str) -> str:
        """The shop's address, as a browser takes it."""
        return f"http://{slug}.localhost:{self.port}"

    def get(self, slug: str, path: str = "/") -> httpx.Response:
        """Ask a shop through the edge."""
        return httpx.get(
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Host": f"{slug}.localhost:{self.port}"},
            timeout=20,
            trust_env=False,
        )

    def sign_up(self, slug: str, **more: str) -> dict[str, Any]:
        """Sign a shop up by the API; what it answered (`tenant`, `operation`, `links`)."""
        wanted = {"slug": slug, "shop_name": slug.title(), "email": f"{slug}@example.org", **more}
        answer = self.api.post("/api/v1/tenants", json=wanted)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def wait(self, operation_id: str, *, seconds: float = 60) -> dict[str, Any]:
        """Follow an operation to its end; fails the test when it is still open after the time."""
        deadline = time.monotonic() + seconds
        while True:
            operation = self._operation(operation_id)
            if operation.get("state") in {"succeeded", "failed", "cancelled"}:
                return operation
            assert time.monotonic() < deadline, f"still open after {seconds} s: {operation}"
            time.sleep(0.1)

    def _operation(self, operation_id: str) -> dict[str, Any]:
        # Tests kill things: an answer that does not come now comes later.
        with suppress(httpx.HTTPError, json.JSONDecodeError):
            body: dict[str, Any] = self.api.get(f"/api/v1/operations/{operation_id}").json()
            return body
        return {}

    def up(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run bin/up; the finished process, whatever its exit code."""
        return self._call([str(REPO / "bin" / "up"), *arguments], **environment)

    def begin_up(self, **environment: str) -> "subprocess.Popen[str]":
        """Start bin/up, which prints its steps to `stdout`."""
        return subprocess.Popen(
            [str(REPO / "bin" / "up")],
            env={**self.env, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def down(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run bin/down; the finished process, whatever its exit code."""
        return self._call([str(REPO / "bin" / "down"), *arguments])

    def run(self, *argv: str) -> str:
        """Run a command inside this Stoa's environment; its stdout. Fails the test when it fails."""
        done = self._call([str(REPO / "bin" / "stoa-env"), *argv])
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def pid(self, program: str) -> int:
        """The program's process id; 0 while it does not run."""
        return self.pids(program)[program]

    def pids(self, *programs: str) -> dict[str, int]:
        """The process id of each program; 0 for one that does not run."""
        found = {program.name: program.pid for program in supervised.states(self._supervisor)}
        return {name: found[name] for name in programs}

    def kill(self, program: str) -> int:
        """SIGKILL the program; its old process id."""
        pid = self.pid(program)
        assert pid, f"{program} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, program: str) -> None:
        """Stop the program; it stays stopped."""
        self._supervise("stop", program)

    def start(self, program: str) -> None:
        """Start the program, without waiting until it is ready."""
        self._supervise("start", program)

    def restart(self, program: str) -> None:
        """Stop and start the program."""
        self._supervise("restart", program)

    def log(self, program: str) -> str:
        """All the program has written."""
        return (self.var / "logs" / f"{program}.log").read_text(errors="replace")

    def leftovers(self) -> list[str]:
        """What of this Stoa is still on the machine, found by looking, not by asking it."""
        found = [f"process {pid}: {line}" for pid, line in _processes() if str(self.var) in line]
        mounts = Path("/proc/mounts").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if f"{self.var}/" in line]
        loops = Path("/sys/block").glob("loop*/loop/backing_file")
        found += [f"loop device of {one.read_text()}" for one in loops if _backs(one, self.var)]
        names = _output("ls", "/run/netns").split()
        found += [f"network namespace {one}" for one in names if one.startswith(f"{self.scope}-")]
        # installer/further/network.py names bridge and cables so.
        ours = sha256(str(self.var).encode()).hexdigest()[:8]
        links = Path("/sys/class/net").iterdir()
        found += [f"device {one.name}" for one in links if f"-{ours}" in one.name]
        tables = _output("nft", "list", "tables").splitlines()
        found += [line for line in tables if line.endswith(f" {self.scope}_local")]
        for root in Path("/sys/fs/cgroup").iterdir():
            if root.is_dir():
                found += [f"cgroup {made}" for made in root.glob(f"{self.scope}_*")]
        devices = _output("ip", "-o", "-4", "addr")
        network = ".".join(self.env["STOA_SUBNET"].split(".")[:2]) + "."
        found += [line for line in devices.splitlines() if f"inet {network}" in line]
        routes = _output("ip", "route", "show", "table", "all").splitlines()
        found += [f"route {line}" for line in routes if line.startswith(network)]
        if Path(f"/run/stoa-scopes/{self.scope}").exists():
            found.append(f"/run/stoa-scopes/{self.scope}")
        return found

    @property
    def _supervisor(self) -> Path:
        return self.var / "run" / "supervisor.sock"

    def _supervise(self, verb: str, *programs: str) -> None:
        assert supervised.ask(self._supervisor, verb, programs) == []

    def _call(self, argv: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv,
            env={**self.env, **environment},
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=280,
        )


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A Stoa that runs. It is stopped and deleted at the end, and nothing of it may be left."""
    yield from running("")


def running(mark: str, **further: str) -> Iterator[Stack]:
    """Start a Stoa, hand it out, and take it away without anything left. mark: for its names, a-z."""
    _remove_abandoned()
    home = Path(f"/tmp/{_HOME_PREFIX}{os.getpid():x}{mark}")
    home.mkdir(mode=0o755)
    (home / "owner").write_text(str(os.getpid()))
    stoa = Stack(home, **further)
    try:
        started = stoa.up()
        assert started.returncode == 0, f"bin/up failed:\n{started.stdout}\n{started.stderr}"
        yield stoa
    finally:
        stopped = stoa.down("--purge", "--yes")
        shutil.rmtree(home, ignore_errors=True)
    assert stopped.returncode == 0, f"bin/down failed:\n{stopped.stdout}\n{stopped.stderr}"
    left = stoa.leftovers()
    assert left == [], left


def _remove_abandoned() -> None:
    """Stoas of test runs that were killed: nobody else will stop them."""
    for home in Path("/tmp").glob(f"{_HOME_PREFIX}*"):
        owner = home / "owner"
        if owner.exists() and Path(f"/proc/{owner.read_text()}").exists():
            continue
        env = {"PATH": os.environ["PATH"], "STOA_VAR": str(home / "var")}
        subprocess.run([REPO / "bin/down", "--purge", "--yes"], env=env, check=False, timeout=120)
        shutil.rmtree(home, ignore_errors=True)


def _free_ports(count: int) -> int:
    """The first of so many free loopback ports in a row, below those the kernel hands out."""
    for _ in range(200):
        first = random.randrange(20000, 31000)
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(sockets):
                probe.bind(("", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in sockets:
                probe.close()
    raise RuntimeError("no free ports in a row between 20000 and 31000")


def free_subnet() -> str:
    """A network that no other Stoa on this machine has, out of those for tests."""
    taken = _output("ip", "-o", "-4", "addr") + _output("ip", "route", "show", "table", "all")
    # Of two workers of a test run one takes the even ones: both may look before either has taken any.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ours = (number for number in range(100, 127) if number % 2 == worker % 2)
    free = [number for number in ours if f" 100.{number}." not in taken]
    return f"100.{random.choice(free)}.0.0/16"


def free_lab_subnet() -> str:
    """A network for further hosts that no other Stoa on this machine has."""
    taken = _output("ip", "-o", "-4", "addr")
    # The other half, 198.19.0.0/16, is for tests that make hosts of their own.
    free = [f"198.18.{low}." for low in range(0, 256, 32) if f" 198.18.{low}." not in taken]
    return f"{random.choice(free)}0/19"


def _processes() -> Iterator[tuple[int, str]]:
    """Every process with its command line and environment as one text."""
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            text = (folder / "cmdline").read_bytes() + b" " + (folder / "environ").read_bytes()
            yield int(folder.name), text.replace(b"\0", b" ").decode(errors="replace")


def _backs(backing_file: Path, var: Path) -> bool:
    with suppress(OSError):  # freed while we look
        return f"{var}/" in backing_file.read_text()
    return False


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout
