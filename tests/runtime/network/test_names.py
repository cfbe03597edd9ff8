"""Names: questions to the gateway go to the host's resolver, and nothing else at the gateway answers."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Self

import pytest

from runtime.config import HostConfig, host_config
from runtime.errors import SpecInvalidError
from runtime.specs import Fence
from tests.runtime.hosts import Host
from tests.runtime.network.conftest import (
    PORT,
    PRIVATE,
    Namespace,
    connected,
    hearing,
    inside,
    ip,
    is_shut_out,
    listening,
    said,
)

pytestmark = pytest.mark.root
ANSWER = IPv4Address("198.51.100.77")


class Resolver:
    """A name server that knows one answer to every question, by datagram and by connection."""

    def __init__(self, pid: int) -> None:
        self.asked: list[str] = []
        with inside(pid):
            self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._connections = socket.socket()
        for door in (self._datagrams, self._connections):
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.settimeout(0.05)

    def __enter__(self) -> Self:
        self._running = True
        self._datagrams.bind(("0.0.0.0", 53))  # noqa: S104
        self._connections.bind(("0.0.0.0", 53))  # noqa: S104
        self._connections.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_of: object) -> None:
        self._running = False
        self._thread.join()
        self._datagrams.close()
        self._connections.close()

    def _serve(self) -> None:
        while self._running:
            try:
                question, peer = self._datagrams.recvfrom(2048)
                self._datagrams.sendto(self._answer(question), peer)
            except OSError:
                pass
            try:
                connection = self._connections.accept()[0]
            except OSError:
                continue
            with connection:
                connection.settimeout(5)
                answer = self._answer(connection.recv(2048)[2:])
                connection.sendall(struct.pack(">H", len(answer)) + answer)

    def _answer(self, question: bytes) -> bytes:
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        self.asked.append(".".join(labels))
        (kind,) = struct.unpack_from(">H", question, at + 1)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + ANSWER.packed
        answers = [record] if kind == 1 else []
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(answers), 0, 0)
        return head + question[12 : at + 5] + b"".join(answers)


def question(name: str) -> bytes:
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def asked(pid: int, server: str, name: str, *, patience: float = 10) -> bytes:
    """The answer to a question by datagram; b"" when none comes."""
    with inside(pid), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(patience)
        client.sendto(question(name), (server, 53))
        try:
            return client.recv(2048)
        except TimeoutError:
            return b""


def asked_by_connection(pid: int, server: str, name: str) -> bytes:
    with inside(pid), closing(socket.create_connection((server, 53), 10)) as client:
        client.sendall(struct.pack(">H", len(question(name))) + question(name))
        return client.recv(2048)[2:]


@pytest.fixture
def beyond(config: HostConfig, internet: int) -> Iterator[tuple[HostConfig, Resolver]]:
    """The host of the test with a resolver on another machine, in a private network."""
    with Resolver(internet) as resolver:
        yield replace(config, resolver=IPv4Address(PRIVATE)), resolver


def test_a_question_to_the_gateway_is_answered_by_the_host_s_resolver(
    beyond: tuple[HostConfig, Resolver], namespace: Namespace
) -> None:
    config, resolver = beyond
    pid = namespace()
    connected(config, pid)
    gateway = str(config.address)
    assert asked(pid, gateway, "shop.example").endswith(ANSWER.packed)
    assert asked_by_connection(pid, gateway, "pay.example").endswith(ANSWER.packed)
    assert resolver.asked == ["shop.example", "pay.example"]


def test_the_resolver_itself_and_its_other_ports_stay_out_of_reach(
    beyond: tuple[HostConfig, Resolver], namespace: Namespace, internet: int
) -> None:
    config, resolver = beyond
    pid = namespace()
    connected(config, pid)
    gateway = str(config.address)
    with listening(internet, 5353), hearing(internet, 5353) as ears, listening(0, 5353):
        ears.settimeout(0.2)
        said(pid, PRIVATE, 53, "not a question")
        said(pid, gateway, 5353, "not the port")
        assert is_shut_out(pid, gateway, 5353)
        assert is_shut_out(pid, PRIVATE, 53)
        with pytest.raises(TimeoutError):
            ears.recv(100)
    assert asked(pid, gateway, "last.example")
    assert resolver.asked == ["last.example"]


def test_an_instance_without_the_internet_has_no_names_either(
    beyond: tuple[HostConfig, Resolver], namespace: Namespace
) -> None:
    config, resolver = beyond
    pid, other = namespace(), namespace()
    connected(config, pid, internet=False)
    connected(config, other, PORT + 1)
    assert asked(pid, str(config.address), "secret.example", patience=0.1) == b""
    assert asked(other, str(config.address), "last.example")
    assert resolver.asked == ["last.example"]


@pytest.mark.parametrize("own", ["gateway", "another address"])
def test_a_resolver_on_the_host_itself_serves_too(
    config: HostConfig, namespace: Namespace, internet: int, own: str
) -> None:
    pid, machine = namespace(), namespace()
    here = config.address if own == "gateway" else IPv4Address("10.9.7.1")
    config = replace(config, resolver=here)
    with inside(machine), ExitStack() as stack:
        connected(config, pid)
        if own != "gateway":
            ip("address", "add", f"{here}/32", "dev", "lo", pid=machine)
            ip("link", "set", "lo", "up", pid=machine)
        resolver = stack.enter_context(Resolver(machine))
        assert asked(pid, str(config.address), "shop.example").endswith(ANSWER.packed)
        assert resolver.asked == ["shop.example"]


def test_a_program_in_a_container_looks_a_name_up(host: Host, internet: int) -> None:
    """The whole way: /etc/resolv.conf inside, the gateway, a resolver on another machine."""
    host.config = replace(host.config, resolver=IPv4Address(PRIVATE))
    host.start_keeper()
    spec = host.spec()
    host.driver().ensure_running(spec, fence=Fence(1, 1))
    with Resolver(internet) as resolver:
        done = host.driver().exec(spec.instance_id, ("/bin/busybox", "nslookup", "shop.example"))
    assert str(ANSWER) in done.output, done.output
    assert f"Server:\t\t{host.config.address}\n" in done.output
    assert "shop.example" in resolver.asked


@pytest.mark.parametrize("value", ["dns.example", "127.0.0.53", "192.0.2.1,192.0.2.2"])
def test_a_resolver_that_containers_cannot_be_led_to_is_refused(value: str) -> None:
    with pytest.raises(SpecInvalidError, match="STOA_RESOLVER"):
        host_config({"STOA_RESOLVER": value})


def test_edges_are_read_from_the_environment() -> None:
    found = host_config(
        {"STOA_EDGE_ADDRESSES": "198.51.100.1, 10.0.0.9", "STOA_EDGE_SOURCES": "10.0.0.0/24"}
    )
    assert found.edges == (IPv4Address("198.51.100.1"), IPv4Address("10.0.0.9"))
    assert found.edge_sources == (IPv4Network("10.0.0.0/24"),)
    with pytest.raises(SpecInvalidError, match="STOA_EDGE_SOURCES"):
        host_config({"STOA_EDGE_SOURCES": "10.0.0.9/24"})
