"""bin/up and bin/down as a person at a fresh machine uses them."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.stoa import REPO, Stack, free_subnet

pytestmark = [pytest.mark.stack, pytest.mark.slow]
PROGRAMS = (
    *("postgres", "redis", "keeper", "host-agent", "edge-agent", "haproxy"),
    *("web", "depot", "events", "control", "sweep", "beat"),
)


def test_a_second_up_changes_nothing_and_tells_where_everything_is(stack: Stack) -> None:
    before = stack.pids(*PROGRAMS)
    done = stack.up()
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert re.findall(r"^\[.*? s\] (.*)", told, re.M) == [
        "waiting until a sign-up would succeed",
        "ready",
    ]
    assert stack.pids(*PROGRAMS) == before
    assert stack.console_url in told
    for name in ("operator-login", "operator-token"):
        assert f"{stack.var}/{name}" in told
        assert (stack.var / name).stat().st_mode & 0o777 == 0o600


def test_the_demo_shop_is_served_and_found_again(stack: Stack) -> None:
    first = stack.up("--demo")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "serves the page titled: Demo Shop" in first.stdout
    again = stack.up("--demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "is there already" in again.stdout
    assert "serves the page titled: Demo Shop" in again.stdout


def test_up_starts_again_what_has_stopped(stack: Stack) -> None:
    stack.stop("sweep")
    done = stack.up()
    assert done.returncode == 0, done.stderr
    assert "starting again: sweep" in done.stdout
    assert stack.pid("sweep")


def test_secrets_are_readable_by_their_owner_only(stack: Stack) -> None:
    files = _secrets(stack)
    assert {"django-secret-key", "fernet-key", "redis-control"} <= {path.name for path in files}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == dict.fromkeys(
        (path.name for path in files), "0o600"
    )
    values = [path.read_text().strip() for path in files]
    for program in ("control", "host-agent", "web", "haproxy"):
        cmdline = Path(f"/proc/{stack.pid(program)}/cmdline").read_text()
        assert not any(value in cmdline for value in values)


def _secrets(stack: Stack) -> list[Path]:
    """What is secret there; certificates lie beside their keys and are for everybody."""
    found = [path for path in (stack.var / "secrets").iterdir() if path.is_file()]
    return [path for path in found if path.suffix != ".crt"]


def test_no_log_holds_a_secret(stack: Stack) -> None:
    values = [path.read_text().strip() for path in _secrets(stack)]
    values.append((stack.var / "operator-token").read_text().strip())
    for log in (stack.var / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert not any(value in text for value in values), log.name


def test_agents_get_neither_the_database_nor_the_secrets(stack: Stack) -> None:
    for program in ("host-agent", "edge-agent", "haproxy", "keeper"):
        environ = Path(f"/proc/{stack.pid(program)}/environ").read_bytes()
        assert b"DATABASE_URL" not in environ, program
        assert b"STOA_SECRETS_DIR" not in environ, program
        assert b"redis://control:" not in environ, program


def test_the_web_does_not_run_as_root(stack: Stack) -> None:
    settings = (stack.var / "settings").read_text()
    if "STOA_RUN_AS=root" in settings:
        pytest.skip("ordinary users cannot read this checkout, so everything runs as root")
    for program in ("web", "depot", "events", "control", "sweep", "beat"):
        status = Path(f"/proc/{stack.pid(program)}/status").read_text()
        assert not re.search(r"^Uid:\s+0\b", status, re.M), program


def test_the_edge_hides_what_is_internal(stack: Stack) -> None:
    answer = httpx.get(
        f"http://127.0.0.1:{stack.port}/internal/v1/edges/local/routes",
        headers={"Host": "localhost"},
        trust_env=False,
    )
    assert answer.status_code == httpx.codes.NOT_FOUND


def test_a_taken_port_is_named_with_its_holder_and_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _bare_up(tmp_path, STOA_HTTP_PORT=str(port))
    assert done.returncode == 1
    assert f"port {port} is taken by" in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert f"STOA_HTTP_PORT={port + 1} bin/up" in done.stderr


def test_a_second_stoa_of_the_same_scope_is_refused(stack: Stack, tmp_path: Path) -> None:
    done = _bare_up(tmp_path, STOA_SCOPE=stack.scope)
    assert done.returncode == 1
    assert f"another Stoa on this machine has the scope '{stack.scope}'" in done.stderr
    assert str(stack.var) in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STOA_HTTP_PORT", "http", "STOA_HTTP_PORT is 'http'; it must be a whole number"),
        ("STOA_HTTP_PORT", "70000", "a whole number from 1 to 65535"),
        ("STOA_SCOPE", "My Shop", "STOA_SCOPE is 'My Shop'; it must be 1 to 32 of a-z"),
        (
            "STOA_SUBNET",
            "everywhere",
            "it must be an IPv4 network that begins at its first address",
        ),
        ("STOA_HOSTS", "9", "it must be a whole number from 1 to 8"),
        ("STOA_LAB_SUBNET", "198.18.1.0/19", "it must be an IPv4 network of size /19"),
        ("STOA_EDGE_ADDRESSES", "edge.example", "it must be IPv4 addresses with commas between"),
        ("STOA_PUBLIC_SCHEME", "gopher", "it must be http or https"),
        ("STOA_VAR", "/tmp/a b", "must have letters, digits and"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_touched(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    done = _bare_up(tmp_path, **{name: value})
    assert done.returncode == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_purge_without_a_terminal_wants_yes(stack: Stack) -> None:
    done = stack.down("--purge")
    assert done.returncode == 1
    assert "say --yes as well" in done.stderr
    assert stack.pid("web")


def test_up_and_down_know_their_words() -> None:
    for program in ("up", "down", "test", "stoa-env"):
        done = subprocess.run(
            [REPO / "bin" / program, "--help"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0
        assert f"bin/{program}" in done.stdout
    wrong = subprocess.run([REPO / "bin/up", "--dmo"], check=False, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "'--dmo'" in wrong.stderr


@pytest.mark.long
def test_a_killed_supervisor_is_no_obstacle_and_data_survive_down(stack: Stack) -> None:
    assert stack.up("--demo").returncode == 0
    pid = int((stack.var / "run/supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    started = stack.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert "whose supervisor is gone" in started.stdout

    assert (stopped := stack.down()).returncode == 0, stopped.stderr
    assert stack.leftovers() == []

    assert (again := stack.up()).returncode == 0, again.stdout + again.stderr
    assert _title_of_demo(stack) == "Demo Shop"


def test_down_works_without_a_supervisor_and_without_anything_and_data_survive(
    stack: Stack,
) -> None:
    if stack.get("demo").status_code != httpx.codes.OK:
        assert stack.up("--demo").returncode == 0
    os.kill(int((stack.var / "run/supervisord.pid").read_text()), signal.SIGKILL)
    try:
        assert (stopped := stack.down()).returncode == 0, stopped.stderr
        assert "failed" not in stopped.stdout + stopped.stderr
        assert stack.leftovers() == []
        assert stack.down().returncode == 0
    finally:
        assert stack.up().returncode == 0
    assert _title_of_demo(stack) == "Demo Shop"


def _title_of_demo(stack: Stack) -> str:
    deadline = time.monotonic() + 30
    while True:  # the keeper starts shops again at its own pace
        answer = stack.get("demo")
        if answer.status_code == httpx.codes.OK or time.monotonic() > deadline:
            found = re.search(r"<title>(.*?)</title>", answer.text)
            assert found, f"{answer.status_code} {answer.text[:300]}"
            return found[1]
        time.sleep(0.2)


def _bare_up(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """bin/up of a Stoa that is not to come up: its own scope and ports, unless settings say otherwise."""
    env = {
        "PATH": os.environ["PATH"],
        "STOA_VAR": str(folder / "var"),
        "STOA_CACHE": str(REPO / "var/cache"),
        "STOA_SCOPE": "tbare",
        "STOA_SUBNET": free_subnet(),
        "STOA_PORT_BASE": "19500",
        **settings,
    }
    return subprocess.run(
        [REPO / "bin/up"], env=env, check=False, capture_output=True, text=True, timeout=60
    )
