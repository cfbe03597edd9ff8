"""Messages for elements of the nftables maps and for what a table consists of, built by pure functions.

An element by `nft` costs an exec and by libnftables a read of the whole rule set; here it is one datagram.
Constants are those of linux/netfilter/nf_tables.h.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
GET_TABLE, DELETE_TABLE = 1, 2
GET_CHAIN = 4
GET_SET = 10
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
GET_GENERATION = 16

TABLE_NAME, TABLE_HANDLE = 1, 4
CHAIN_TABLE, CHAIN_NAME, CHAIN_USE = 1, 3, 6
SET_TABLE, SET_NAME = 1, 2
GENERATION_ID = 1
ELEMENTS_TABLE, ELEMENTS_SET, ELEMENTS_LIST, LIST_ELEMENT = 1, 2, 3, 1
ELEMENT_KEY, ELEMENT_DATA = 1, 2
DATA_VALUE, DATA_VERDICT = 1, 2
VERDICT_CODE, VERDICT_CHAIN = 1, 2
NF_DROP, NFT_GOTO = 0, -4

_GENERIC = struct.Struct(">BBH")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a map: what is looked up, what is found (both as the kernel reads them), in words."""

    map_name: str
    key: bytes
    data: bytes
    about: str


def leading(map_name: str, port: int, to: IPv4Address, to_port: int) -> Element:
    """Return an element port → to . to_port."""
    # Parts of a concatenation are padded to four bytes each.
    data = attribute(DATA_VALUE, to.packed + struct.pack(">Hxx", to_port))
    return Element(map_name, struct.pack(">H", port), data, f"port {port}")


def judged(map_name: str, address: IPv4Address, chain: str | None) -> Element:
    """Return an element address → goto chain; None drops."""
    if chain is None:
        verdict = attribute(VERDICT_CODE, struct.pack(">i", NF_DROP))
    else:
        code = attribute(VERDICT_CODE, struct.pack(">i", NFT_GOTO))
        verdict = code + text(VERDICT_CHAIN, chain)
    return Element(map_name, address.packed, nested(DATA_VERDICT, verdict), f"address {address}")


def begin() -> Message:
    """Open a batch; the kernel applies all of a batch or nothing."""
    return Message(BATCH_BEGIN, 0, _GENERIC.pack(0, 0, SUBSYSTEM_NFTABLES), "open a batch")


def end() -> Message:
    """Close a batch."""
    return Message(BATCH_END, 0, _GENERIC.pack(0, 0, SUBSYSTEM_NFTABLES), "close a batch")


def add_element(table: str, element: Element) -> Message:
    """Put an element into its map; the kernel says EEXIST when its key leads elsewhere."""
    content = _key(element.key) + nested(ELEMENT_DATA, element.data)
    return _message(
        NEW_ELEMENT,
        NLM_F_ACK | NLM_F_CREATE,
        _elements(table, element.map_name, content),
        f"add {element.about} to map {element.map_name} of table {table}",
    )


def delete_element(table: str, element: Element) -> Message:
    """Take an element out of its map by its key; the kernel says ENOENT when it is not in."""
    return _message(
        DELETE_ELEMENT,
        NLM_F_ACK,
        _elements(table, element.map_name, _key(element.key)),
        f"take {element.about} out of map {element.map_name} of table {table}",
    )


def get_element(table: str, element: Element) -> Message:
    """Ask for an element by its key."""
    body = _elements(table, element.map_name, _key(element.key))
    return _message(GET_ELEMENT, 0, body, f"look up {element.about} in table {table}")


def list_elements(table: str, map_name: str) -> Message:
    """Ask for all elements of a map."""
    body = text(ELEMENTS_TABLE, table) + text(ELEMENTS_SET, map_name)
    return _message(GET_ELEMENT, NLM_F_DUMP, body, f"list map {map_name} of table {table}")


def get_chain(table: str, chain: str) -> Message:
    """Ask for one chain by name."""
    body = text(CHAIN_TABLE, table) + text(CHAIN_NAME, chain)
    return _message(GET_CHAIN, 0, body, f"look up chain {chain} of table {table}")


def list_chains() -> Message:
    """Ask for the chains of all tables of this family."""
    return _message(GET_CHAIN, NLM_F_DUMP, b"", "list chains")


def list_sets(table: str) -> Message:
    """Ask for the sets and maps of a table."""
    return _message(GET_SET, NLM_F_DUMP, text(SET_TABLE, table), f"list sets of table {table}")


def get_table(table: str) -> Message:
    """Ask for a table by name."""
    return _message(GET_TABLE, 0, text(TABLE_NAME, table), f"look up table {table}")


def delete_table(table: str) -> Message:
    """Delete a table and all that is in it."""
    return _message(DELETE_TABLE, NLM_F_ACK, text(TABLE_NAME, table), f"delete table {table}")


def get_generation() -> Message:
    """Ask for the number that every change of any table raises."""
    return _message(GET_GENERATION, 0, b"", "ask for the generation of the rules")


def parse_chains(bodies: Sequence[bytes], table: str) -> list[str]:
    """Read the answers to list_chains: names of one table's chains."""
    found = (dict(attributes(body[_GENERIC.size :])) for body in bodies)
    return [_text(chain[CHAIN_NAME]) for chain in found if _text(chain[CHAIN_TABLE]) == table]


def parse_chain_use(body: bytes) -> int:
    """Read the answer to get_chain: how many rules it has, and jumps to it."""
    (number,) = struct.unpack(">I", dict(attributes(body[_GENERIC.size :]))[CHAIN_USE])
    return int(number)


def parse_table_handle(body: bytes) -> int:
    """Read the answer to get_table: a number no other table of this machine ever has."""
    (number,) = struct.unpack(">Q", dict(attributes(body[_GENERIC.size :]))[TABLE_HANDLE])
    return int(number)


def parse_sets(bodies: Sequence[bytes]) -> list[str]:
    """Read the answers to list_sets: names, without the nameless sets that belong to rules."""
    names = (_text(dict(attributes(body[_GENERIC.size :]))[SET_NAME]) for body in bodies)
    return [name for name in names if not name.startswith("__")]


def parse_generation(body: bytes) -> int:
    """Read the answer to get_generation."""
    (number,) = struct.unpack(">I", dict(attributes(body[_GENERIC.size :]))[GENERATION_ID])
    return int(number)


def parse_leading(bodies: Sequence[bytes]) -> dict[int, tuple[IPv4Address, int]]:
    """Read a map of `leading` elements: port → (address, port)."""
    found: dict[int, tuple[IPv4Address, int]] = {}
    for key, data in _listed(bodies):
        value = dict(attributes(data))[DATA_VALUE]
        (port,) = struct.unpack_from(">H", key)
        (to_port,) = struct.unpack_from(">H", value, 4)
        found[port] = (IPv4Address(value[:4]), to_port)
    return found


def parse_judged(bodies: Sequence[bytes]) -> dict[IPv4Address, str | None]:
    """Read a map of `judged` elements: address → chain, None for drop."""
    found: dict[IPv4Address, str | None] = {}
    for key, data in _listed(bodies):
        verdict = dict(attributes(dict(attributes(data))[DATA_VERDICT]))
        chain = verdict.get(VERDICT_CHAIN)
        found[IPv4Address(key[:4])] = None if chain is None else _text(chain)
    return found


def _listed(bodies: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for body in bodies:
        parts = dict(attributes(body[_GENERIC.size :]))
        for _kind, element in attributes(parts.get(ELEMENTS_LIST, b"")):
            fields = dict(attributes(element))
            yield dict(attributes(fields[ELEMENT_KEY]))[DATA_VALUE], fields[ELEMENT_DATA]


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode()


def _key(key: bytes) -> bytes:
    return nested(ELEMENT_KEY, attribute(DATA_VALUE, key))


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
