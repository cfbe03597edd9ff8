"""Framing and sending of netlink messages: the one place in this room that talks to the kernel.

Every exec of `ip` costs about 5 ms, so links and map elements are set by messages built here in Python.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from runtime.errors import HostError

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BYTES = 256 * 1024


class NetlinkError(HostError):
    """The kernel refused a message; details hold its errno."""

    code = "netlink"

    @property
    def errno(self) -> int:
        """Return why the kernel refused, 0 when that is not known (an error that came in an answer)."""
        number = self.details.get("errno", 0)
        return number if isinstance(number, int) else 0


@dataclass(frozen=True, slots=True)
class Message:
    """One request: kernel message type, flags beside NLM_F_REQUEST, body, and what it does in words."""

    kind: int
    flags: int
    body: bytes
    about: str

    def frame(self, sequence: int) -> bytes:
        """Return the message as the kernel reads it."""
        length = _HEADER.size + len(self.body)
        header = _HEADER.pack(length, self.kind, self.flags | NLM_F_REQUEST, sequence, 0)
        return header + self.body


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind)
    return head + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return a zero-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take a run of attributes apart into (type without flag bits, payload)."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & NLA_TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def answers(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Take one datagram from the kernel apart into (type, sequence, body)."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


class Netlink:
    """A netlink socket of the network namespace the calling thread is in when it is opened."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.settimeout(5.0)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, messages: Sequence[Message], *, fine: frozenset[int] = frozenset()) -> None:
        """Send all messages at once and wait for each acknowledgement.

        fine: errno values that count as success. Raises NetlinkError for the first other one.
        """
        self.send_framed(list(messages), fine=fine)

    def send_framed(
        self,
        messages: Sequence[Message],
        *,
        before: Sequence[Message] = (),
        after: Sequence[Message] = (),
        fine: frozenset[int] = frozenset(),
    ) -> None:
        """Like send, with unacknowledged messages around (nftables wraps a batch in two)."""
        waiting: dict[int, Message] = {}
        frames: list[bytes] = []
        for message in [*before, *messages, *after]:
            self._sequence += 1
            if message.flags & NLM_F_ACK:
                waiting[self._sequence] = message
            frames.append(message.frame(self._sequence))
        self._socket.send(b"".join(frames))
        failed: NetlinkError | None = None
        while waiting:
            for kind, sequence, body in answers(self._receive()):
                if kind != NLMSG_ERROR or sequence not in waiting:
                    continue
                message = waiting.pop(sequence)
                failed = failed or _refusal(body, message, fine)
        if failed:
            raise failed

    def ask(self, message: Message) -> list[tuple[int, bytes]]:
        """Send one question and return its answers as (type, body); [] when there is no such thing."""
        self._sequence += 1
        self._socket.send(message.frame(self._sequence))
        dump = message.flags & NLM_F_DUMP == NLM_F_DUMP
        found: list[tuple[int, bytes]] = []
        while True:
            for kind, sequence, body in answers(self._receive()):
                if sequence != self._sequence:
                    continue
                if kind == NLMSG_ERROR:
                    missing = frozenset({errno.ENODEV, errno.ENOENT})
                    refusal = _refusal(body, message, missing)
                    if refusal:
                        raise refusal
                    return found
                if kind == NLMSG_DONE:
                    return found
                found.append((kind, body))
                if not dump:
                    return found

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except TimeoutError as error:
            raise NetlinkError(
                "the kernel did not answer on netlink in 5 s", errno=errno.ETIMEDOUT
            ) from error
        except OSError as error:
            raise NetlinkError(
                f"netlink cannot be read: {error.strerror}", errno=error.errno or 0
            ) from error


def _refusal(body: bytes, message: Message, fine: frozenset[int]) -> NetlinkError | None:
    """Return the error an acknowledgement carries, or None when it is one of success."""
    number = -struct.unpack_from("=i", body)[0]
    if number == 0 or number in fine:
        return None
    return NetlinkError(f"could not {message.about}: {os.strerror(number)}", errno=number)
