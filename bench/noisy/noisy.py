"""Answers its health path, and from the first question on burns what BURN names, without end."""

import mmap
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

PAGE = mmap.PAGESIZE
MIB = 1024 * 1024
# Nothing of it leaves the machine: the benchmark leads this network into an interface without a far end.
SINK = "198.51.100.{}"


def cpu() -> None:
    """Four processes that only reckon, all the processor they can get."""
    for _ in range(3):
        if os.fork() == 0:
            break
    while True:
        sum(range(100_000))


def memory() -> None:
    """Writes to more and more pages in the first process, until the kernel ends it; then begun anew."""
    held = []
    while True:
        piece = mmap.mmap(-1, MIB)
        for at in range(0, MIB, PAGE):
            piece[at] = 1
        held.append(piece)


def disk() -> None:
    """Writes and forces to the disk; at the ceiling it begins anew."""
    while True:
        file = os.open("/data/waste", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with suppress(OSError):
            while True:
                os.write(file, os.urandom(MIB))
                os.fsync(file)
        os.close(file)


def pids() -> None:
    """Every process makes more of its kind."""
    while True:
        with suppress(OSError):
            os.fork()


def log() -> None:
    """Lines as fast as they are taken."""
    line = b"a line of a program that has much to say and never stops saying it\n" * 60
    while True:
        os.write(1, line)


def network() -> None:
    """A new connection, to somebody else, as fast as sockets can be made."""
    for number in count():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            with suppress(OSError):
                connection.connect((SINK.format(1 + number % 250), 1024 + number % 60_000))


BURNS: dict[str, Callable[[], None]] = {
    "cpu": cpu,
    "memory": memory,
    "disk": disk,
    "pids": pids,
    "log": log,
    "network": network,
}


def main() -> None:
    """Answer once, as a program must to count as well, then burn; nobody asks one that was started again."""
    with socket.create_server(("", int(os.environ["PORT"]))) as door, suppress(TimeoutError):
        door.settimeout(1.0)
        peer, _ = door.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwell\n")
    time.sleep(0.2)
    BURNS[os.environ["BURN"]]()


main()
