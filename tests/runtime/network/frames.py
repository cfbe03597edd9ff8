"""Frames as a program with raw sockets would make them: no container has those, the tests do."""

import socket
import struct
from ipaddress import IPv4Address

from runtime.network import plan

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
EVERYBODY = b"\xff" * 6


def ethernet(kind: int, payload: bytes, *, to: bytes = plan.HOST_MAC, source: bytes) -> bytes:
    return to + source + struct.pack(">H", kind) + payload


def ipv4(
    source: str,
    to: str,
    payload: bytes,
    *,
    protocol: int = socket.IPPROTO_UDP,
    options: bytes = b"",
    fragment: int = 0,
) -> bytes:
    """A packet; options: a multiple of 4 bytes; fragment: the field of flags and offset."""
    words = 5 + len(options) // 4
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | words,
        0,
        4 * words + len(payload),
        7,
        fragment,
        64,
        protocol,
        0,
        IPv4Address(source).packed,
        IPv4Address(to).packed,
    )
    head += options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp(port: int, word: str, *, source_port: int = 4444) -> bytes:
    """A datagram without a checksum, which IPv4 allows."""
    return struct.pack(">HHHH", source_port, port, 8 + len(word), 0) + word.encode()


def syn(source: str, to: str, source_port: int, port: int) -> bytes:
    """The first segment of a connection."""
    segment = struct.pack(">HHIIBBHHH", source_port, port, 1, 0, 0x50, 2, 1000, 0, 0)
    pseudo = IPv4Address(source).packed + IPv4Address(to).packed + struct.pack(">HH", 6, 20)
    return segment[:16] + struct.pack(">H", checksum(pseudo + segment)) + segment[18:]


def udp6(source: str, to: str, port: int, word: str) -> bytes:
    ours, theirs = (socket.inet_pton(socket.AF_INET6, one) for one in (source, to))
    length = 8 + len(word)
    head = struct.pack(">HHHH", 4444, port, length, 0)
    pseudo = ours + theirs + struct.pack(">IHBB", length, 0, 0, 17)
    total = checksum(pseudo + head + word.encode())
    head = struct.pack(">HHHH", 4444, port, length, total)
    return ipv6(source, to, 17, head + word.encode())


def ipv6(source: str, to: str, protocol: int, payload: bytes) -> bytes:
    ours, theirs = (socket.inet_pton(socket.AF_INET6, one) for one in (source, to))
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 255) + ours + theirs + payload


def router_advertisement() -> bytes:
    """It offers itself as the router and a prefix to make an address of."""
    body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    prefix = socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    body += struct.pack(">BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, prefix)
    ours, theirs = (socket.inet_pton(socket.AF_INET6, one) for one in ("fe80::1", "ff02::1"))
    pseudo = ours + theirs + struct.pack(">IHBB", len(body), 0, 0, 58)
    total = checksum(pseudo + body)
    return ipv6("fe80::1", "ff02::1", 58, body[:2] + struct.pack(">H", total) + body[4:])


def arp(kind: int, mac: bytes, source: str, target: str) -> bytes:
    """kind 1 asks who has target, kind 2 claims source."""
    return (
        struct.pack(">HHBBH", 1, IPV4, 6, 4, kind)
        + mac
        + IPv4Address(source).packed
        + bytes(6)
        + IPv4Address(target).packed
    )


def redirect(source: str, to: str, gateway: str, about: bytes) -> bytes:
    """ICMP: "send what is in this packet by way of gateway"."""
    body = struct.pack(">BBH4s", 5, 1, 0, IPv4Address(gateway).packed) + about[:28]
    body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    return ipv4(source, to, body, protocol=socket.IPPROTO_ICMP)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
