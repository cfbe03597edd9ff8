"""A network of the tests' own: scope, subnet, namespaces with and without a user namespace."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from runtime import network
from runtime.config import HostConfig
from runtime.system.syscalls import CLONE_NEWNET, setns
from runtime.units import MIB, Limits
from tests.support import leftovers, network_parts

Namespace = Callable[[], int]
PORT = 10000
INTERNET = "203.0.113.2"
PRIVATE = "10.9.8.2"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[HostConfig]:
    """A host of this test alone; whatever the test leaves is removed and looked for."""
    host = HostConfig(
        "local",
        leftovers.scope(),
        tmp_path,
        IPv4Network("100.98.0.0/16"),
        range(10000, 32768),
        edge_sources=(IPv4Network("203.0.113.2/32"),),
    )
    try:
        yield host
    finally:
        network.remove_host(host)
    assert network_parts.listing(host).empty


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


@pytest.fixture
def internet(config: HostConfig, namespace: Namespace) -> Iterator[int]:
    """A machine beyond this host with a public and a private address, and no route back to tenants."""
    pid = namespace()
    name = f"w{config.interface_prefix[1:]}i"
    ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    ip("address", "add", "203.0.113.1/24", "dev", name)
    ip("address", "add", "10.9.8.1/24", "dev", name)
    ip("link", "set", name, "up")
    for address in (f"{INTERNET}/24", f"{PRIVATE}/24"):
        ip("address", "add", address, "dev", "eth0", pid=pid)
    ip("link", "set", "eth0", "up", pid=pid)
    ip("route", "add", f"{config.address}/32", "via", "203.0.113.1", pid=pid)
    yield pid
    ip("link", "delete", name)


def ip(*argv: str, pid: int = 0) -> str:
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
    return subprocess.run([*enter, "ip", *argv], check=True, capture_output=True, text=True).stdout


def ceilings(*, egress: int = 0, connections: int = 0, per_second: int = 0) -> Limits:
    """Limits of the network; the others do not matter here."""
    return Limits(
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
    at_most: Limits | None = None,
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

    A lost packet is sent again after one second, and again after three.
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


def said(pid: int, address: str, port: int, *words: str, source: str = "") -> None:
    """Send a datagram for each word from a namespace, each from a port of its own."""
    for word in words:
        with inside(pid or os.getpid()):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if source:
                client.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
                client.bind((source, 0))
            with suppress(OSError):  # not even a route: that word is not heard either
                client.sendto(word.encode(), (address, port))


@contextmanager
def hearing(pid: int, port: int) -> Iterator[socket.socket]:
    """A socket for datagrams to any address inside a namespace (pid 0: this process's own)."""
    with inside(pid or os.getpid()):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server:
        server.bind(("0.0.0.0", port))  # noqa: S104
        server.settimeout(10)
        yield server


def heard(server: socket.socket, *, last: str) -> list[str]:
    """The words that arrived before the last one, which must arrive: what was sent earlier is lost."""
    words: list[str] = []
    while (word := server.recv(2048).decode()) != last:
        words.append(word)
    return words


def tracked(pid: int) -> list[str]:
    """The lines of a namespace's table of connections."""
    try:
        return Path(f"/proc/{pid}/net/nf_conntrack").read_text().splitlines()
    except FileNotFoundError:
        pytest.skip("this kernel does not show its table of connections (NF_CONNTRACK_PROCFS)")
