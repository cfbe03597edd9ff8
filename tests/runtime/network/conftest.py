"""A network of the tests' own: scope, subnet, namespaces with and without a user namespace."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from runtime import network
from runtime.config import HostConfig
from runtime.syscalls import CLONE_NEWNET, setns
from runtime.units import MIB, Ceilings

Namespace = Callable[[], int]
PORT = 10000


@pytest.fixture
def config(tmp_path: Path) -> Iterator[HostConfig]:
    """A host of this test alone; whatever the test leaves is removed and looked for."""
    host = HostConfig(
        "local",
        f"t{os.getpid()}",
        tmp_path,
        IPv4Network("100.98.0.0/16"),
        range(10000, 32768),
        edge_sources=(IPv4Network("203.0.113.2/32"),),
    )
    try:
        yield host
    finally:
        network.remove_host(host)
    assert network.listing(host).empty


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Makes processes that hold a network namespace inside a user namespace; gives their pids."""
    holders: list[subprocess.Popen[bytes]] = []

    def make() -> int:
        ours = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
        holder = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "300"])
        holders.append(holder)
        deadline = time.monotonic() + 5
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == ours:  # noqa: PTH116
            assert time.monotonic() < deadline, "unshare gave no namespace"
            time.sleep(0.002)
        return holder.pid

    yield make
    for holder in holders:
        holder.kill()
        holder.wait()


def ceilings(*, egress: int = 0, connections: int = 0, per_second: int = 0) -> Ceilings:
    """Ceilings of the network; the others do not matter here."""
    return Ceilings(
        1000,
        64 * MIB,
        64,
        MIB,
        egress_bytes_per_second=egress,
        connections=connections,
        new_connections_per_second=per_second,
    )


def connected(
    config: HostConfig,
    pid: int,
    port: int = PORT,
    *,
    at_most: Ceilings | None = None,
    internet: bool = True,
) -> str:
    """Connect a namespace as a start does, its port 8000 published, and return its address."""
    network.ensure_host(config)
    endpoint = network.Endpoint(port, 8000, at_most or ceilings(), internet)
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        return str(network.connect(config, endpoint, netns_fd=fd))
    finally:
        os.close(fd)


@contextmanager
def inside(pid: int) -> Iterator[None]:
    """Sockets opened in this block belong to the network namespace of pid, for good."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        setns(theirs, CLONE_NEWNET)
        yield
    finally:
        setns(ours, CLONE_NEWNET)
        os.close(ours)
        os.close(theirs)


@contextmanager
def listening(pid: int, port: int = 8000) -> Iterator[socket.socket]:
    """A server socket inside a namespace (pid 0: this process's own)."""
    with inside(pid or os.getpid()):
        server = socket.create_server(("0.0.0.0", port), reuse_port=True)  # noqa: S104
    with server:
        server.settimeout(2)
        yield server


def reaches(pid: int, address: str, port: int, *, source: str = "") -> bool:
    """Whether a process in the namespace can open a connection.

    A first packet may be lost while an interface comes up (2 of 1,500 on a busy machine); the kernel
    sends it again after one second, and again after three.
    """
    return _connects(pid, address, port, source, patience=5.0)


def is_shut_out(pid: int, address: str, port: int, *, source: str = "") -> bool:
    """Whether no connection opens, though the first packet was sent once more."""
    return not _connects(pid, address, port, source, patience=1.3)


def _connects(pid: int, address: str, port: int, source: str, *, patience: float) -> bool:
    with inside(pid or os.getpid()):
        client = socket.socket()
    with client:
        client.settimeout(patience)
        if source:
            client.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: any address may be claimed
            client.bind((source, 0))
        try:
            client.connect((address, port))
        except OSError:
            return False
        return True


def sending(address: str, port: int, server: socket.socket, amount: int) -> None:
    """Send that many bytes to a server socket of ours and read them all there."""
    with socket.create_connection((address, port), 10) as client:
        connection, _peer = server.accept()
        with connection:
            sender = threading.Thread(target=client.sendall, args=(bytes(amount),))
            sender.start()
            while amount > 0:
                amount -= len(connection.recv(256 * 1024))
            sender.join()
