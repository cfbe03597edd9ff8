"""Asking a container whether it is well, from the host it runs on."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 512
_LISTENING = "0A"
# 127.0.0.1 and ::1, as the kernel writes them on little-endian machines.
_LOOPBACK = ("0100007F", "00000000000000000000000001000000")


def answers(address: str, port: int, path: str, *, timeout: float) -> bool:
    """Return whether the port accepts a connection and, when path is not "", answers it with 200.

    A bare socket: an HTTP client would cost the agent memory, and each start milliseconds.
    """
    try:
        with socket.create_connection((address, port), timeout) as connection:
            if not path:
                return True
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: stoa-health\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            return _status(connection, deadline=time.monotonic() + timeout) == 200
    except OSError:
        return False


def _status(connection: socket.socket, *, deadline: float) -> int:
    """Return the status code of the answer, 0 when it is none."""
    head = b""
    while b"\r\n" not in head and len(head) < _READ_BYTES and time.monotonic() < deadline:
        piece = connection.recv(_READ_BYTES)
        if not piece:
            break
        head += piece
    parts = head.split(b"\r\n", 1)[0].split()
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        return 0
    return int(parts[1])


def listens_on(pid: int) -> str:
    """On what the programs of a container listen, as a sentence: where a port was looked for in vain."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except (OSError, ValueError):
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING:
                address, _, port = fields[1].rpartition(":")
                where = "127.0.0.1:" if address in _LOOPBACK else "port "
                found.add((int(port, 16), f"{where}{int(port, 16)}"))
    if not found:
        return "it listens on no port"
    return f"it listens on {', '.join(words for _port, words in sorted(found)[:8])} only"


def pauses() -> Iterator[float]:
    """Yield seconds between two questions: short while a program boots, longer when it takes its time."""
    for pause, times in ((0.003, 100), (0.01, 100), (0.05, 100)):
        for _ in range(times):
            yield pause
    while True:
        yield 0.25
