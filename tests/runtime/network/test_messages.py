"""Netlink messages, byte for byte, and reading what the kernel answers."""

import struct
from ipaddress import IPv4Address

import pytest

from runtime.network import nfnetlink, rtnetlink, shaping
from runtime.network.netlink import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    Message,
    answers,
    attribute,
    attributes,
    nested,
)

ADDRESS = IPv4Address("100.96.1.0")


def test_attributes_are_padded_to_four_bytes_and_read_back() -> None:
    data = attribute(3, b"abcde") + nested(18, attribute(1, b"x"))
    assert data[:12] == struct.pack("=HH", 9, 3) + b"abcde\0\0\0"
    (name, kind) = list(attributes(data))
    assert name == (3, b"abcde")
    assert kind[0] == 18
    assert list(attributes(kind[1])) == [(1, b"x")]


def test_damaged_attributes_end_the_reading() -> None:
    assert list(attributes(b"\0\0\0\0\0\0\0\0")) == []


def test_a_frame_says_its_length_kind_flags_and_number() -> None:
    frame = Message(16, NLM_F_ACK, b"body", "try").frame(7)
    assert struct.unpack_from("=IHHII", frame) == (20, 16, NLM_F_ACK | NLM_F_REQUEST, 7, 0)
    assert list(answers(frame + frame)) == [(16, 7, b"body"), (16, 7, b"body")]


def test_an_address_message_is_what_ip_sends() -> None:
    message = rtnetlink.put_address(5, ADDRESS)
    # struct ifaddrmsg, then IFA_LOCAL and IFA_ADDRESS
    assert (
        message.body.hex() == "0220000005000000" + "08000200" + "64600100" + "08000100" + "64600100"
    )


def test_a_default_route_is_on_the_link() -> None:
    body = rtnetlink.put_default_route(2, IPv4Address("100.96.0.1")).body
    assert body[:12].hex() == "02000000fe04000104000000"
    assert dict(attributes(body[12:])) == {5: bytes((100, 96, 0, 1)), 4: struct.pack("=i", 2)}


def test_a_neighbour_is_permanent() -> None:
    body = rtnetlink.put_neighbour(2, ADDRESS, b"\2SdABC").body
    assert struct.unpack_from("=BxxxiHBB", body) == (2, 2, 0x80, 0, 0)
    assert dict(attributes(body[12:])) == {1: ADDRESS.packed, 2: b"\2SdABC"}


def test_the_peer_of_a_veth_is_made_inside_the_other_namespace() -> None:
    body = rtnetlink.new_veth("v-2710", b"\2" * 6, "eth0", b"\4" * 6, 9).body
    outer = dict(attributes(body[16:]))
    info = dict(attributes(outer[18]))
    peer = dict(attributes(info[2]))[1]
    inner = dict(attributes(peer[16:]))
    assert (outer[3], info[1], inner[3]) == (b"v-2710\0", b"veth\0", b"eth0\0")
    assert inner[28] == struct.pack("=I", 9)
    assert (outer[1], inner[1]) == (b"\2" * 6, b"\4" * 6)


def test_links_are_read_with_name_and_state() -> None:
    body = struct.pack("=BxHiII", 0, 1, 12, 1, 0) + attribute(3, b"v-2710\0")
    assert rtnetlink.parse_link(body) == rtnetlink.Link(12, "v-2710", up=True)


def test_map_elements_are_written_and_read_the_same_way() -> None:
    leading = nfnetlink.leading("published", 10000, ADDRESS, 8000)
    message = nfnetlink.add_element("stoa_local", leading)
    assert nfnetlink.parse_leading([message.body]) == {10000: (ADDRESS, 8000)}
    assert message.kind == (10 << 8) | 12


@pytest.mark.parametrize("chain", ["out_2048_200", None])
def test_an_address_is_led_to_a_chain_or_nowhere(chain: str | None) -> None:
    message = nfnetlink.add_element("stoa_local", nfnetlink.judged("classes", ADDRESS, chain))
    assert nfnetlink.parse_judged([message.body]) == {ADDRESS: chain}


def test_a_ceiling_on_sending_is_what_tc_sends() -> None:
    body = shaping.put_limit(7, 1_000_000).body
    assert struct.unpack_from("=BxxxiIII", body) == (0, 7, 0x53540000, 0xFFFFFFFF, 0)
    parts = dict(attributes(body[20:]))
    options = dict(attributes(parts[2]))
    assert parts[1] == b"tbf\0"
    assert struct.unpack_from("=BBHhHI", options[1]) == (0, 1, 0, 0, 0, 1_000_000)
    assert struct.unpack("=Q", options[4]) == (1_000_000,)
    assert struct.unpack("=I", options[6]) == (125_000,)
