"""Kinds of values: how a setting's text is read, and what would be right where it cannot be."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_LEAST_STORE_BYTES = 256 * _FACTORS["M"]
_MOST_HOSTNAME = 200


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """How a text is read.

    right: completes "it must be …". read: raises ValueError for any other text.
    takes_empty: the empty text is a value too; otherwise it means "not given".
    is_shown: a wrong value may be repeated in an error; not where people may have put a password into it.
    """

    right: str
    read: Callable[[str], T_co]
    takes_empty: bool = False
    is_shown: bool = True


def optional(kind: Kind[T], *, otherwise: str = "nothing") -> "Kind[T | None]":
    """Return the kind, or None for the empty text."""
    return Kind(
        f"{kind.right}, or {otherwise}",
        lambda text: kind.read(text) if text else None,
        is_shown=kind.is_shown,
    )


def number(low: int, high: int) -> Kind[int]:
    """Return a whole number from low to high, written in digits."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 20):
            raise ValueError(text)
        return _in_range(int(text), low, high)

    return Kind(f"a whole number from {low} to {high}", read)


def one_of(*words: str) -> Kind[str]:
    """Return one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Kind(" or ".join((", ".join(words[:-1]), words[-1])), read)


def matching(pattern: str, right: str, *, is_shown: bool = True) -> Kind[str]:
    """Return a text that the whole pattern matches; the empty text when the pattern takes it."""

    def read(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(text)
        return text

    return Kind(right, read, is_shown=is_shown)


def listed(kind: Kind[T], right: str) -> "Kind[tuple[T, ...]]":
    """Values with commas between; () for the empty text."""
    return Kind(
        f"{right} with commas between, or nothing",
        lambda text: tuple(kind.read(part.strip()) for part in text.split(",")) if text else (),
        is_shown=kind.is_shown,
    )


def url(schemes: tuple[str, ...], right: str, *, with_user: bool) -> Kind[str]:
    """Return an address of one of the schemes, never with a password; "" for none."""

    def read(text: str) -> str:
        parts = urlsplit(text)
        is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        has_user = parts.username is not None
        if not is_whole or parts.password is not None or (has_user and not with_user):
            raise ValueError(text)
        if " " in text or not text.isprintable():
            raise ValueError(text)
        return text

    return Kind(right, lambda text: read(text) if text else "", is_shown=False)


def _in_range(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(value)
    return value


def _hostname(text: str) -> str:
    labels = text.lower().split(".")
    if len(text) > _MOST_HOSTNAME or not all(map(_is_label, labels)):
        raise ValueError(text)
    return text.lower()


def _is_label(text: str) -> bool:
    return bool(re.fullmatch(r"[a-zA-Z0-9-]{1,63}", text)) and bool(text.replace("-", ""))


def _path(text: str) -> Path:
    if not text.startswith("/") or not text.isprintable():
        raise ValueError(text)
    return Path(text)


def _ports(text: str) -> range:
    found = re.fullmatch(r"(\d{4,5})-(\d{4,5})", text, re.ASCII)
    if found is None:
        raise ValueError(text)
    first, last = _in_range(int(found[1]), 1024, 65535), _in_range(int(found[2]), 1024, 65535)
    return range(first, _in_range(last, first, 65535) + 1)


def _resolver(text: str) -> IPv4Address:
    address = IPv4Address(text)
    if address.is_loopback:
        raise ValueError(text)
    return address


def _reachable(text: str) -> IPv4Address:
    address = _resolver(text)
    if address in IPv4Network("0.0.0.0/8"):
        raise ValueError(text)
    return address


def _further_hosts(text: str) -> IPv4Network:
    network = IPv4Network(text)
    return IPv4Network((network.network_address, _in_range(network.prefixlen, 19, 19)))


def bytes_of(text: str) -> int:
    """Bytes written as 20G, 512M or a plain number; ValueError for anything else."""
    found = re.fullmatch(r"(\d{1,18})([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is not a size; write 20G, 512M or a number of bytes")
    return int(found[1]) * _FACTORS[found[2].upper()]


def _store(text: str) -> int:
    size = bytes_of(text)
    if 0 < size < _LEAST_STORE_BYTES:
        raise ValueError(text)
    return size


def _edge_state(text: str) -> Path:
    if any(sign in text for sign in " ;\\'\"#") or len(text) > _MOST_EDGE_STATE:
        raise ValueError(text)
    return _path(text)


# A unix socket's path has 107 characters at most; HAProxy adds a suffix while it takes a socket over.
_MOST_EDGE_STATE = 100 - len("/haproxy.sock")

TEXT: Kind[str] = Kind("a text", str)
NAME = matching(
    r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", "1 to 32 of a-z, 0-9 and -, starting with a letter"
)
USER = Kind(
    "the name of a system user, as haproxy",
    matching(r"[A-Za-z0-9_-]*", "").read,
    takes_empty=True,
)
HOSTNAME = Kind("a host name without scheme and port", _hostname)
PORT = number(1, 65535)
PORTS = Kind("two ports from 1024 to 65535, the smaller first, such as 10000-32767", _ports)
PATH = Kind("an absolute path", _path)
EDGE_STATE = Kind(
    f"an absolute path of at most {_MOST_EDGE_STATE} characters (a socket has to fit in it),"
    " without spaces, quotes, ; # or \\",
    _edge_state,
)
ADDRESS = Kind("an IPv4 address", IPv4Address)
REACHABLE = Kind("one IPv4 address of this machine that other hosts reach", _reachable)
RESOLVER = Kind("one IPv4 address that is not on loopback: containers cannot go there", _resolver)
ADDRESSES = listed(ADDRESS, "IPv4 addresses")
NETWORK = Kind(
    "an IPv4 network that begins at its first address, such as 100.96.0.0/16", IPv4Network
)
NETWORKS = listed(NETWORK, "IPv4 networks that begin at their first address, such as 10.0.0.0/8,")
PROXIES: "Kind[tuple[IPv4Network | IPv6Network, ...]]" = listed(
    Kind("a network", ip_network), "IPv4 or IPv6 networks, such as 192.0.2.0/24 or 2001:db8::/64,"
)
LAB_NETWORK = Kind("an IPv4 network of size /19 such as 198.18.32.0/19", _further_hosts)
STORE_BYTES = Kind(
    "a size such as 20G or 512M (a store has 256M at least), or 0 for no store", _store
)
NAMES = listed(
    matching(r"[A-Za-z0-9.-]+", ""),
    "addresses or host names",
)
_MAIL = matching(r"[^@\s,]+@[^@\s,]+", "one mail address")
MAIL = _MAIL
MAILS = Kind("mail addresses with commas between", listed(_MAIL, "").read)
