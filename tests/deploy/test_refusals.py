"""bin/up refuses what does not fit before it installs or writes anything; bin/down is calm about nothing."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def _run(
    program: str, folder: Path, *words: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    env = {
        "PATH": os.environ["PATH"],
        "STOA_VAR": str(folder / "var"),
        "STOA_SCOPE": "trefused",
        "STOA_SUBNET": "100.121.0.0/16",
        "STOA_PORT_BASE": "19600",
        "STOA_STORE_BYTES": "0",
        **settings,
    }
    return subprocess.run(
        [REPO / "bin" / program, *words],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="bin/up must run as root")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"STOA_PROBE_PORT": "12000"}, "STOA_PROBE_PORT is 12000, which lies inside STOA_PORTS"),
        ({"STOA_HTTP_PORT": "19602"}, "one of the six ports above STOA_PORT_BASE"),
        ({"STOA_EDGE_PROXY_PORT": "19606", "STOA_EDGE_PROXIES": "10.0.0.0/8"}, "one of the six"),
        ({"STOA_EDGE_PROXY_PORT": "8080", "STOA_EDGE_PROXIES": "10.0.0.0/8"}, "of STOA_HTTP_PORT"),
        (
            {"STOA_PROBE_PORT": "8080"},
            "STOA_PROBE_PORT is 8080, which is the port of STOA_HTTP_PORT",
        ),
        ({"STOA_HTTP_PORT": "9797"}, "choose another: STOA_PROBE_PORT=9798"),
        (
            {"STOA_PROBE_PORT": "9606", "STOA_PORT_BASE": "9600"},
            "STOA_PROBE_PORT is 9606, one of the six ports above STOA_PORT_BASE",
        ),
        ({"STOA_PORTS": "20000-10000"}, "STOA_PORTS is '20000-10000'"),
        ({"STOA_PORTS": "10000-70000"}, "STOA_PORTS is '10000-70000'"),
        ({"STOA_PORTS": "80-90"}, "STOA_PORTS is '80-90'"),
        ({"STOA_SUBNET": "100.121.1.0/16"}, "begins at its first address"),
        ({"STOA_SUBNET": "100.300.0.0/16"}, "STOA_SUBNET is '100.300.0.0/16'"),
        ({"STOA_SUBNET": "100.121.0.0/24"}, "need as many addresses"),
        ({"STOA_SUBNET": "198.18.0.0/16", "STOA_HOSTS": "2"}, "have addresses in common"),
        ({"STOA_POOL_ADDRESS": "100.121.0.9"}, "STOA_POOL_ADDRESS (100.121.0.9) lies inside"),
        ({"STOA_EDGE_SOURCES": "10.0.0.1/8"}, "STOA_EDGE_SOURCES is '10.0.0.1/8'"),
        ({"STOA_STORE_BYTES": "900T"}, "the stores for shops' data want"),
        ({"STOA_STORE_BYTES": "1M"}, "a store has 256M at least"),
        ({"STOA_LAB_STORE_BYTES": "much"}, "STOA_LAB_STORE_BYTES is 'much'"),
        ({"STOA_ALARM_MAIL": "nobody"}, "it must be mail addresses"),
        ({"STOA_SMTP_URL": "smtp://me:hunter2@mail.example"}, "STOA_SMTP_URL is not"),
        ({"STOA_SMTP_URL": "smtp://me@mail.example"}, "smtp-password is not there"),
        ({"STOA_ALARM_WEBHOOK": "https://me:hunter2@hooks.example/x"}, "STOA_ALARM_WEBHOOK is not"),
        ({"STOA_ALARM_WEBHOOK": "ftp://hooks.example/x"}, "STOA_ALARM_WEBHOOK is not"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_touched(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    done = _run("up", tmp_path, **settings)
    assert done.returncode == 1
    assert said in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="bin/up must run as root")
@pytest.mark.parametrize("setting", ["STOA_HTTP_PORT", "STOA_EDGE_PROXY_PORT", "STOA_PROBE_PORT"])
def test_a_port_that_another_program_has_is_named_with_its_setting(
    tmp_path: Path, setting: str
) -> None:
    http = _free_port()
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {"STOA_HTTP_PORT": http, "STOA_EDGE_PROXIES": "10.0.0.0/8", setting: port}
        done = _run("up", tmp_path, **given)
    assert done.returncode == 1
    assert f"port {port} is taken by" in done.stderr
    assert f"{setting}=" in done.stderr
    assert not (tmp_path / "var/postgres").exists()


def _free_port() -> str:
    with socket.create_server(("", 0)) as free:
        return str(free.getsockname()[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="bin/up must run as root")
def test_a_network_that_the_machine_itself_has_is_refused(tmp_path: Path) -> None:
    routes = subprocess.run(
        ["ip", "-4", "route"], check=False, capture_output=True, text=True
    ).stdout.splitlines()
    own = [words for line in routes if "/" in (words := line.split())[0] and "eth" in line]
    if not own:
        pytest.skip("this machine has no network of its own on an Ethernet interface")
    wide = f"{own[0][0].split('.')[0]}.0.0.0/8"
    done = _run("up", tmp_path, STOA_SUBNET=wide)
    assert done.returncode == 1
    assert f"this machine has the network {own[0][0]}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="bin/down must run as root")
def test_down_is_silent_where_nothing_ever_was(tmp_path: Path) -> None:
    for _ in range(2):
        done = _run("down", tmp_path, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
