"""Messages for elements of the one nftables map, built by pure functions.

An element by `nft` costs an exec and by libnftables a read of the whole rule set; here it is one datagram.
Constants are those of linux/netfilter/nf_tables.h.
"""

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

from runtime.network.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    attribute,
    attributes,
    nested,
    text,
)

NFPROTO_INET = 1
SUBSYSTEM_NFTABLES = 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
GET_CHAIN = 4

CHAIN_TABLE, CHAIN_NAME = 1, 3
ELEMENTS_TABLE, ELEMENTS_SET, ELEMENTS_LIST, LIST_ELEMENT = 1, 2, 3, 1
ELEMENT_KEY, ELEMENT_DATA, DATA_VALUE = 1, 2, 1

_GENERIC = struct.Struct(">BBH")


def begin() -> Message:
    """Open a batch; the kernel applies all of a batch or nothing."""
    return Message(BATCH_BEGIN, 0, _GENERIC.pack(0, 0, SUBSYSTEM_NFTABLES), "open a batch")


def end() -> Message:
    """Close a batch."""
    return Message(BATCH_END, 0, _GENERIC.pack(0, 0, SUBSYSTEM_NFTABLES), "close a batch")


def add_element(table: str, map_name: str, port: int, to: IPv4Address, to_port: int) -> Message:
    """Put port → to . to_port into a map; the kernel says EEXIST when the port leads elsewhere."""
    # Parts of a concatenation are padded to four bytes each.
    data = nested(ELEMENT_DATA, attribute(DATA_VALUE, to.packed + struct.pack(">Hxx", to_port)))
    body = _elements(table, map_name, _key(port) + data)
    return _message(
        NEW_ELEMENT, NLM_F_ACK | NLM_F_CREATE, body, f"publish port {port} in table {table}"
    )


def delete_element(table: str, map_name: str, port: int) -> Message:
    """Take a port out of a map; the kernel says ENOENT when it is not in."""
    body = _elements(table, map_name, _key(port))
    return _message(DELETE_ELEMENT, NLM_F_ACK, body, f"unpublish port {port} in table {table}")


def list_elements(table: str, map_name: str) -> Message:
    """Ask for all elements of a map."""
    body = text(ELEMENTS_TABLE, table) + text(ELEMENTS_SET, map_name)
    return _message(GET_ELEMENT, NLM_F_DUMP, body, f"list map {map_name} of table {table}")


def get_chain(table: str, chain: str) -> Message:
    """Ask for one chain by name."""
    body = text(CHAIN_TABLE, table) + text(CHAIN_NAME, chain)
    return _message(GET_CHAIN, 0, body, f"look up chain {chain} of table {table}")


def parse_elements(bodies: Sequence[bytes]) -> dict[int, tuple[IPv4Address, int]]:
    """Read the answers to list_elements: port → (address, port)."""
    found: dict[int, tuple[IPv4Address, int]] = {}
    for body in bodies:
        parts = dict(attributes(body[_GENERIC.size :]))
        for _kind, element in attributes(parts.get(ELEMENTS_LIST, b"")):
            fields = dict(attributes(element))
            key = dict(attributes(fields[ELEMENT_KEY]))[DATA_VALUE]
            data = dict(attributes(fields[ELEMENT_DATA]))[DATA_VALUE]
            (port,) = struct.unpack_from(">H", key)
            (to_port,) = struct.unpack_from(">H", data, 4)
            found[port] = (IPv4Address(data[:4]), to_port)
    return found


def _key(port: int) -> bytes:
    return nested(ELEMENT_KEY, attribute(DATA_VALUE, struct.pack(">H", port)))


def _elements(table: str, map_name: str, element: bytes) -> bytes:
    return b"".join(
        (
            text(ELEMENTS_TABLE, table),
            text(ELEMENTS_SET, map_name),
            nested(ELEMENTS_LIST, nested(LIST_ELEMENT, element)),
        )
    )


def _message(kind: int, flags: int, body: bytes, about: str) -> Message:
    generic = _GENERIC.pack(NFPROTO_INET, 0, 0)
    return Message((SUBSYSTEM_NFTABLES << 8) | kind, flags, generic + body, about)
