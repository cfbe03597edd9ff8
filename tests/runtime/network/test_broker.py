"""Who reaches the broker's port cannot hold all its connections, whatever he knows."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from runtime import network
from runtime.config import HostConfig, host_config
from runtime.errors import SpecInvalidError
from runtime.network import rules
from tests.runtime.network.conftest import INTERNET, PRIVATE, inside, reaches

pytestmark = pytest.mark.root

BROKER = "203.0.113.1"


@pytest.fixture
def redis_port(internet: int, tmp_path: Path) -> Iterator[int]:
    """A Redis of its own that other machines reach, with 20 places and no user who may do anything."""
    with socket.create_server((BROKER, 0)) as free:
        port = free.getsockname()[1]
    settings = f"bind {BROKER} 127.0.0.1\nport {port}\nmaxclients 20\nsave ''\nuser default off\n"
    server = subprocess.Popen(
        ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    assert server.stdin
    server.stdin.write(settings.encode())
    server.stdin.close()
    deadline = time.monotonic() + 30
    while not reaches(0, BROKER, port):
        assert time.monotonic() < deadline
    yield port
    server.kill()
    server.wait()


def test_one_machine_gets_its_share_of_the_broker_s_connections_and_others_find_room(
    config: HostConfig, internet: int, redis_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "OPEN_TO_BROKER", 8)
    network.ensure_host(replace(config, broker=(IPv4Address(BROKER), redis_port)))
    with contextlib.ExitStack() as held:
        got = 0
        for _ in range(30):
            with inside(internet):
                stranger = held.enter_context(socket.socket())
            stranger.settimeout(5)
            stranger.bind((INTERNET, 0))
            try:
                stranger.connect((BROKER, redis_port))
            except ConnectionRefusedError:
                continue
            got += 1
        assert got == 8
        # Another machine, and this one itself, are answered: Redis has places left.
        for source in (PRIVATE, None):
            with inside(internet) if source else contextlib.nullcontext():
                other = held.enter_context(socket.socket())
            other.settimeout(5)
            if source:
                other.bind((source, 0))
            other.connect((BROKER, redis_port))
            other.sendall(b"PING\r\n")
            assert other.recv(100).startswith(b"-NOAUTH")


def test_only_the_machine_that_has_the_broker_has_rules_for_it(config: HostConfig) -> None:
    there = replace(config, broker=(IPv4Address(BROKER), 18801))
    assert "to_broker" not in rules.rules(config, None)
    assert f"ip daddr != {BROKER} accept" in rules.rules(there, None)
    given = {"STOA_POOL_ADDRESS": BROKER, "STOA_REDIS_PORT": "18801"}
    assert host_config(given).broker == there.broker
    assert host_config({"STOA_REDIS_PORT": "18801"}).broker is None
    with pytest.raises(SpecInvalidError, match="STOA_REDIS_PORT is 'x'"):
        host_config(given | {"STOA_REDIS_PORT": "x"})
