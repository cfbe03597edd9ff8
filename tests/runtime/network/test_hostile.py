"""What a tenant sends that no ordinary program sends, and where he has no business at all.

The host is a network namespace of the test's own, so that addresses of clouds and of other networks can
be there. Every test ends with a word that is let through: what was sent before it and has not arrived
was dropped.
"""

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from runtime.config import HostConfig
from runtime.network import plan
from tests.runtime.network import frames
from tests.runtime.network.conftest import (
    INTERNET,
    PORT,
    Namespace,
    ceilings,
    connected,
    heard,
    hearing,
    inside,
    ip,
    is_shut_out,
    listening,
    reaches,
    said,
    tracked,
)

pytestmark = pytest.mark.root
UDP = 5999
FORBIDDEN = {
    "metadata service": "169.254.169.254",
    "private, 10": "10.9.8.2",
    "private, 172": "172.16.7.7",
    "private, 192": "192.168.7.7",
    "carrier-grade": "100.127.7.7",
    "containers of another host": "100.97.1.0",
    "another host": "100.97.0.1",
    "benchmarks": "198.18.7.7",
    "protocol assignments": "192.0.0.8",
    "class E": "240.0.0.7",
}


@dataclass(frozen=True)
class Lab:
    """A host with one tenant on it, and a machine beyond it that has every address."""

    config: HostConfig
    host: int
    beyond: int
    tenant: int
    address: str

    @property
    def host_end(self) -> str:
        return plan.veth_of(self.config, PORT)

    @property
    def mac(self) -> bytes:
        return plan.mac_of(IPv4Address(self.address))

    def puts(self, *packets: bytes, kind: int = frames.IPV4, to: bytes = plan.HOST_MAC) -> None:
        """Let the tenant put packets on its wire as they are."""
        with inside(self.tenant), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            for packet in packets:
                wire.send(frames.ethernet(kind, packet, to=to, source=self.mac))


@pytest.fixture
def lab(config: HostConfig, namespace: Namespace) -> Lab:
    host, beyond, tenant = namespace(), namespace(), namespace()
    ip("link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", str(beyond), pid=host)
    ip("address", "add", "203.0.113.1/24", "dev", "up0", pid=host)
    ip("link", "set", "up0", "up", pid=host)
    ip("link", "set", "lo", "up", pid=host)
    ip("link", "set", "eth0", "up", pid=beyond)
    ip("address", "add", f"{INTERNET}/24", "dev", "eth0", pid=beyond)
    for address in FORBIDDEN.values():
        ip("address", "add", f"{address}/32", "dev", "eth0", pid=beyond)
        ip("route", "add", f"{address}/32", "dev", "up0", pid=host)
    with inside(host):
        address = connected(config, tenant)
    return Lab(config, host, beyond, tenant, address)


def test_no_private_or_special_address_is_reached_though_the_host_reaches_it(lab: Lab) -> None:
    with hearing(lab.beyond, UDP) as ears:
        for address in FORBIDDEN.values():
            said(lab.host, address, UDP, f"host to {address}")
            said(lab.tenant, address, UDP, f"tenant to {address}")
        said(lab.tenant, INTERNET, UDP, "last")
        assert heard(ears, last="last") == [f"host to {one}" for one in FORBIDDEN.values()]


def test_neither_broadcast_nor_multicast_reaches_the_host(lab: Lab) -> None:
    with inside(lab.host):
        index = socket.if_nametoindex(lab.host_end)
    with hearing(lab.host, UDP) as ears, hearing(lab.tenant, UDP) as theirs:
        group = struct.pack("=4s4si", socket.inet_aton("224.0.0.251"), bytes(4), index)
        ears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        for target, mac in (
            ("255.255.255.255", frames.EVERYBODY),
            ("100.98.255.255", frames.EVERYBODY),
            ("224.0.0.251", bytes.fromhex("01005e0000fb")),
            (str(lab.config.address), plan.HOST_MAC),
        ):
            lab.puts(frames.ipv4(lab.address, target, frames.udp(UDP, f"to {target}")), to=mac)
        ears.sendto(b"answer me", (lab.address, UDP))
        _question, host = theirs.recvfrom(100)
        theirs.sendto(b"last", host)
        assert heard(ears, last="last") == []


@pytest.mark.parametrize(
    "source",
    ["100.98.1.1", "100.98.0.1", "100.98.9.9", "127.0.0.1", "203.0.113.1", "8.8.8.8", "0.0.0.0"],  # noqa: S104
)
def test_a_packet_under_another_address_goes_nowhere(lab: Lab, source: str) -> None:
    datagram = frames.udp(UDP, "forged")
    with hearing(lab.beyond, UDP) as ears:
        lab.puts(frames.ipv4(source, INTERNET, datagram))
        lab.puts(frames.ipv4(lab.address, INTERNET, frames.udp(UDP, "last")))
        assert heard(ears, last="last") == []


@pytest.mark.parametrize(
    "options",
    [
        bytes((131, 7, 4, 100, 97, 1, 0, 0)),  # loose source route
        bytes((137, 7, 4, 100, 97, 1, 0, 0)),  # strict source route
        bytes((7, 7, 4, 0, 0, 0, 0, 0)),  # record route
        bytes((1, 1, 1, 1)),
    ],
)
def test_a_packet_with_options_goes_nowhere(lab: Lab, options: bytes) -> None:
    with hearing(lab.beyond, UDP) as ears:
        lab.puts(frames.ipv4(lab.address, INTERNET, frames.udp(UDP, "odd"), options=options))
        lab.puts(frames.ipv4(lab.address, INTERNET, frames.udp(UDP, "last")))
        assert heard(ears, last="last") == []


def test_fragments_do_not_fill_the_host_s_memory(lab: Lab) -> None:
    """They are dropped before the host puts any of them aside to wait for the rest."""
    datagram = frames.udp(UDP, "in two pieces!!!")
    first, second = datagram[:16], datagram[16:]
    with hearing(lab.beyond, UDP) as ears:
        lab.puts(frames.ipv4(lab.address, INTERNET, first, fragment=0x2000))
        waiting = [line for line in _sockstat(lab.host) if line.startswith("FRAG")]
        lab.puts(frames.ipv4(lab.address, INTERNET, second, fragment=2))
        lab.puts(frames.ipv4(lab.address, INTERNET, frames.udp(UDP, "last")))
        assert heard(ears, last="last") == []
    assert waiting == ["FRAG: inuse 0 memory 0"]


def _sockstat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/net/sockstat").read_text().splitlines()


def test_protocols_that_carry_others_go_nowhere(lab: Lab) -> None:
    numbers = (4, 41, 47, 50, 132)  # IP, IPv6, GRE and ESP inside IP; SCTP
    with ExitStack() as stack, hearing(lab.beyond, UDP) as ears:
        with inside(lab.beyond):
            raw = [
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, number))
                for number in numbers
            ]
        for number in numbers:
            packet = frames.ipv4(lab.address, INTERNET, bytes(40), protocol=number)
            lab.puts(packet)
        said(lab.host, INTERNET, UDP, "host")
        lab.puts(frames.ipv4(lab.address, INTERNET, frames.udp(UDP, "last")))
        assert heard(ears, last="last") == ["host"]
        for one in raw:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(100)


def test_a_flood_of_first_packets_does_not_fill_the_table_of_connections(lab: Lab) -> None:
    with inside(lab.host):
        connected(lab.config, lab.tenant, at_most=ceilings(connections=50, per_second=20))
    # A machine that never answers: an answer would end what it is an answer to.
    silent = (
        "table inet mute { chain c { type filter hook input priority 0; tcp dport 80 drop; }; }"
    )
    with inside(lab.beyond):
        subprocess.run(["nft", "-f", "-"], input=silent, text=True, check=True)
    forged = [f"100.98.{number // 200 + 2}.{number % 200}" for number in range(1000)]
    lab.puts(
        *(
            frames.ipv4(one, INTERNET, frames.syn(one, INTERNET, 4000, 80), protocol=6)
            for one in forged
        )
    )
    lab.puts(
        *(
            frames.ipv4(
                lab.address,
                INTERNET,
                frames.syn(lab.address, INTERNET, 5000 + number, 80),
                protocol=6,
            )
            for number in range(1000)
        )
    )
    with hearing(lab.beyond, UDP) as ears:
        said(lab.host, INTERNET, UDP, "last")
        heard(ears, last="last")
    lines = tracked(lab.host)
    to_them = [line for line in lines if f"dst={INTERNET} " in line]
    assert [line for line in to_them if "src=100.98." in line and lab.address not in line] == []
    own = [line for line in lines if f"src={lab.address} " in line]
    assert 0 < len(own) <= 50 + 1


def test_arp_is_neither_answered_nor_believed(lab: Lab) -> None:
    gateway = str(lab.config.address)
    with inside(lab.tenant):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(frames.ARP))
    with wire, hearing(lab.tenant, UDP) as theirs:
        wire.bind(("eth0", frames.ARP))
        for target in (gateway, "203.0.113.1", "100.98.1.1"):
            lab.puts(frames.arp(1, lab.mac, lab.address, target), kind=frames.ARP, to=b"\xff" * 6)
        for claimed in (gateway, "203.0.113.2", "100.98.1.1"):
            lab.puts(frames.arp(2, lab.mac, claimed, gateway), kind=frames.ARP)
        said(lab.host, lab.address, UDP, "last")
        heard(theirs, last="last")
        wire.setblocking(False)
        assert [frame for frame in _waiting(wire) if frame[6:12] != lab.mac] == []
    neighbours = ip("neighbour", "show", "dev", lab.host_end, pid=lab.host).split("\n")
    assert [line.split()[0] for line in neighbours if line] == [lab.address]
    assert "NOARP" in ip("link", "show", lab.host_end, pid=lab.host)


def _waiting(wire: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield wire.recv(100)
        except BlockingIOError:
            return


def test_a_redirect_is_not_believed(lab: Lab) -> None:
    with hearing(lab.beyond, UDP) as ears:
        said(lab.host, INTERNET, UDP, "before")
        about = frames.ipv4("203.0.113.1", INTERNET, frames.udp(UDP, "x"))
        for source in (INTERNET, lab.address):
            lab.puts(frames.redirect(source, "203.0.113.1", lab.address, about))
        said(lab.host, INTERNET, UDP, "last")
        assert heard(ears, last="last") == ["before"]
    assert "dev up0" in ip("route", "get", INTERNET, pid=lab.host)
    for name, value in (("accept_redirects", 0), ("accept_source_route", 0), ("rp_filter", 1)):
        with inside(lab.host):
            setting = Path(f"/proc/sys/net/ipv4/conf/{lab.host_end}/{name}").read_text()
        assert setting.strip() == str(value), name


def test_ipv6_goes_nowhere_and_no_router_advertisement_is_believed(
    lab: Lab, namespace: Namespace
) -> None:
    other = namespace()
    peer = ("peer", "name", "eth0", "netns", str(other))
    ip("link", "add", "plain0", "type", "veth", *peer, pid=lab.host)
    ip("link", "set", "eth0", "up", pid=other)
    ip("link", "set", "plain0", "up", pid=lab.host)
    ip("address", "add", "2001:db8::1/128", "dev", "lo", pid=lab.host)
    words = ip("-o", "link", "show", "plain0", pid=lab.host).split()
    mac = bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))
    with inside(lab.host):
        ears = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with ears:
        ears.bind(("::", UDP))
        ears.settimeout(10)
        packet = frames.udp6("2001:db8::2", "2001:db8::1", UDP, "tenant")
        lab.puts(packet, frames.router_advertisement(), kind=frames.IPV6)
        lab.puts(frames.router_advertisement(), kind=frames.IPV6, to=bytes.fromhex("333300000001"))
        # The control, and the last word: another interface of the same host takes the same packet.
        with inside(other), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            last = frames.udp6("2001:db8::2", "2001:db8::1", UDP, "last")
            wire.send(frames.ethernet(frames.IPV6, last, to=mac, source=lab.mac))
        assert heard(ears, last="last") == []
    assert ip("-6", "address", "show", "dev", lab.host_end, pid=lab.host) == ""
    assert ip("-6", "route", "show", "dev", lab.host_end, pid=lab.host) == ""
    assert ip("-6", "address", "show", pid=lab.tenant) == ""


@pytest.mark.parametrize("where", ["beyond, at a private address", "on this host"])
def test_a_tenant_reaches_an_edge_on_80_and_443_and_nothing_else_there(
    lab: Lab, where: str
) -> None:
    at, pid = ("203.0.113.1", lab.host) if where == "on this host" else ("10.9.8.2", lab.beyond)
    with ExitStack() as stack:
        for port in (80, 443, 8080):
            stack.enter_context(listening(pid, port))
        assert is_shut_out(lab.tenant, at, 80)
        with inside(lab.host):
            connected(replace(lab.config, edges=(IPv4Address(at),)), lab.tenant)
        assert reaches(lab.tenant, at, 80)
        assert reaches(lab.tenant, at, 443)
        assert is_shut_out(lab.tenant, at, 8080)
