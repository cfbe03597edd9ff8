"""Limits of a tenant's network, set at the start and changed while it runs."""

import os
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from runtime import network
from runtime.config import HostConfig
from runtime.network import rules, table
from runtime.network.shaping import burst_bytes, queue_bytes
from runtime.units import MIB
from tests.runtime.network.conftest import (
    INTERNET,
    PORT,
    Namespace,
    ceilings,
    connected,
    heard,
    hearing,
    inside,
    is_shut_out,
    listening,
    reaches,
    said,
    tracked,
)

pytestmark = pytest.mark.root
UDP = 5999


def rules_of(config: HostConfig) -> int:
    """How many rules the host's table has, whatever is in its maps and sets."""
    listed = subprocess.run(
        ["nft", "list", "table", "inet", f"{config.scope}_local"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sum(
        # Where traffic was counted in the meantime, a set has a line of elements more.
        line.startswith("\t\t") and not line.startswith(("\t\t\t", "\t\telements ="))
        for line in listed.splitlines()
    )


def through(
    sender: int, address: str, server: socket.socket, *, seconds: float, enough: int
) -> tuple[int, float]:
    """Bytes that came from a sender that never stops, and in what time: until enough or time is up."""
    with inside(sender):
        client = socket.socket()
    client.settimeout(30)
    client.connect((address, server.getsockname()[1]))
    connection, _peer = server.accept()
    thread = threading.Thread(target=_send_for_ever, args=(client,))
    began, amount = time.monotonic(), 0
    thread.start()
    with client, connection:
        connection.settimeout(0.1)
        while amount < enough and time.monotonic() - began < seconds:
            with suppress(TimeoutError):
                amount += len(connection.recv(1 << 20))
        took = time.monotonic() - began
        client.shutdown(socket.SHUT_RDWR)
        thread.join()
    return amount, took


def _send_for_ever(client: socket.socket) -> None:
    block = bytes(64 * 1024)
    with suppress(OSError):
        while True:
            client.sendall(block)


RATE = 256 * 1024


def test_what_a_container_sends_is_held_at_its_ceiling_and_the_ceiling_changes_while_it_runs(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid, neighbour = namespace(), namespace()
    connected(config, pid, at_most=ceilings(egress=RATE))
    connected(config, neighbour, PORT + 1)
    with listening(internet, 9000) as server:
        amount, took = through(pid, INTERNET, server, seconds=2, enough=1 << 40)
        assert 0 < amount <= RATE * took + burst_bytes(RATE) + 2 * queue_bytes(RATE)
        # Both of these would take minutes at the ceiling: a neighbour, and the same one without it.
        assert through(neighbour, INTERNET, server, seconds=30, enough=32 * MIB)[0] >= 32 * MIB
        for most in (ceilings(egress=1 << 30), ceilings(), ceilings()):
            network.limit(config, published_port=PORT, ceilings=most, internet=True, netns_pid=pid)
            assert through(pid, INTERNET, server, seconds=30, enough=32 * MIB)[0] >= 32 * MIB
        tight = ceilings(egress=RATE)
        for _ in range(2):
            network.limit(config, published_port=PORT, ceilings=tight, internet=True, netns_pid=pid)
        amount, took = through(pid, INTERNET, server, seconds=1, enough=1 << 40)
        assert 0 < amount <= RATE * took + burst_bytes(RATE) + 2 * queue_bytes(RATE)


def test_a_ceiling_slows_answers_to_visitors_too_and_not_what_is_received(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    address = connected(config, pid, at_most=ceilings(egress=RATE))
    with listening(pid) as server:
        assert through(os.getpid(), address, server, seconds=30, enough=32 * MIB)[0] >= 32 * MIB


def test_a_changed_ceiling_breaks_no_connection(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    connected(config, pid)
    with ExitStack() as stack:
        server = stack.enter_context(listening(internet, 9000))
        with inside(pid):
            client = stack.enter_context(socket.create_connection((INTERNET, 9000), 10))
        connection = stack.enter_context(server.accept()[0])
        connection.settimeout(10)
        for most in (ceilings(egress=RATE, connections=1), ceilings(egress=2 * RATE), ceilings()):
            network.limit(config, published_port=PORT, ceilings=most, internet=True, netns_pid=pid)
            client.sendall(b"still here")
            assert connection.recv(100) == b"still here"


def test_open_connections_are_capped_for_each_tenant_by_himself(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid, neighbour = namespace(), namespace()
    few = ceilings(connections=5)
    connected(config, pid, at_most=few)
    connected(config, neighbour, PORT + 1, at_most=few)
    with listening(internet, 9000), ExitStack() as open_ones:
        with inside(pid):
            for _ in range(5):
                open_ones.enter_context(socket.create_connection((INTERNET, 9000), 10))
        assert is_shut_out(pid, INTERNET, 9000)
        assert reaches(neighbour, INTERNET, 9000)
    with listening(internet, 9001):
        assert reaches(pid, INTERNET, 9001)  # the five have ended


def test_new_connections_are_capped_for_each_tenant_by_himself(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid, neighbour = namespace(), namespace()
    slow = ceilings(per_second=5)
    connected(config, pid, at_most=slow)
    connected(config, neighbour, PORT + 1)
    words = [f"word {number}" for number in range(100)]
    with hearing(internet, UDP) as server:
        began = time.monotonic()
        said(pid, INTERNET, UDP, *words)
        took = time.monotonic() - began
        said(neighbour, INTERNET, UDP, *words, "last")
        arrived = heard(server, last="last")
    assert arrived.count("word 99") >= 1
    own = len(arrived) - len(words)  # all of the neighbour's came
    assert 10 <= own <= 10 + 5 * (took + 1)


def test_without_the_internet_nothing_leaves_but_answers(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    connected(config, pid)
    with ExitStack() as stack:
        server = stack.enter_context(listening(internet, 9000))
        ears = stack.enter_context(hearing(internet, UDP))
        stack.enter_context(listening(pid))
        with inside(pid):
            client = stack.enter_context(socket.create_connection((INTERNET, 9000), 10))
        connection = stack.enter_context(server.accept()[0])
        network.limit(
            config, published_port=PORT, ceilings=ceilings(), internet=False, netns_pid=pid
        )
        client.sendall(b"a connection of before")
        said(pid, INTERNET, UDP, "datagram")
        assert is_shut_out(pid, INTERNET, 9000)
        assert reaches(0, str(config.address), PORT)  # visitors are answered
        network.limit(
            config, published_port=PORT, ceilings=ceilings(), internet=True, netns_pid=pid
        )
        said(pid, INTERNET, UDP, "last")
        assert heard(ears, last="last") == []
        # What was sent meanwhile waits inside until the kernel there sends it again.
        connection.settimeout(20)
        assert connection.recv(100) == b"a connection of before"


def test_rules_grow_with_distinct_ceilings_and_not_with_tenants(
    config: HostConfig, namespace: Namespace
) -> None:
    connected(config, namespace(), at_most=ceilings(connections=10))
    one_tenant = rules_of(config)
    for number in range(1, 6):
        connected(config, namespace(), PORT + number, at_most=ceilings(connections=10))
    assert rules_of(config) == one_tenant
    connected(config, namespace(), PORT + 6, at_most=ceilings(connections=11))
    # Two sets of three lines and a chain of four rules.
    assert 0 < rules_of(config) - one_tenant <= 12
    assert len(set(table.classes(config).values())) == 2


def test_visitors_of_one_shop_cannot_fill_the_host_s_table_of_connections(
    config: HostConfig, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "OPEN_VISITS", 4)
    first, second = namespace(), namespace()
    connected(config, first)
    connected(config, second, PORT + 1)
    with listening(first), listening(second), ExitStack() as visits:
        for _ in range(4):
            visits.enter_context(socket.create_connection((str(config.address), PORT), 10))
        assert is_shut_out(0, str(config.address), PORT)
        assert reaches(0, str(config.address), PORT + 1)


def test_a_connection_that_ended_leaves_the_host_s_table_soon(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    address = connected(config, pid)
    with listening(internet, 9000), listening(pid):
        assert reaches(pid, INTERNET, 9000)
        assert reaches(0, str(config.address), PORT)
    ours = [line.split() for line in tracked(os.getpid()) if address in line and "tcp" in line]
    assert len(ours) >= 2
    # protocol, number, protocol, number, seconds left, state: by itself the kernel keeps them 120 s.
    assert all(int(words[4]) <= 20 for words in ours), ours
