"""Attempts at sockets that see or change more than their own connections."""

import socket
import struct

from .calls import Attempt


def raw_socket(family: int, kind: int, protocol: int) -> str:
    socket.socket(family, kind, protocol).close()
    return "a socket"


def audit() -> str:
    """Audit messages want a capability; sending one tells."""
    with socket.socket(16, socket.SOCK_RAW, 9) as door:
        door.send(struct.pack("=IHHII", 16, 1000, 5, 1, 0))
        code = struct.unpack_from("=i", door.recv(200), 16)[0]
    if code:
        raise OSError(-code, "audit")
    return "answered"


ATTEMPTS: dict[str, Attempt] = {
    "socket-raw": lambda: raw_socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "socket-packet": lambda: raw_socket(17, socket.SOCK_RAW, 0x0300),
    "socket-vsock": lambda: raw_socket(40, socket.SOCK_STREAM, 0),
    "socket-alg": lambda: raw_socket(38, socket.SOCK_SEQPACKET, 0),
    "socket-audit": audit,
}
