"""Passes large uploads on to shops, so that a shop's early answer reaches its visitor.

A program that refuses an upload (413, 401) answers and closes while the body is still coming; its kernel
then resets the connection. HAProxy 2.6 sends on, gets the reset, and throws away the answer that lies in
its receive buffer: two of three such answers were lost. So requests whose body does not fit into
HAProxy's buffer go through here: an answer is read to its end whatever becomes of the sending, and the
rest of the body is taken and thrown away until HAProxy has passed the answer on.

A body that comes slowly takes a place in the shop all the while: one visitor's address may have a few on
their way to each shop, and is refused beyond them.

The first line is HAProxy's PROXY header; its destination is the shop's address and is checked like a
route's. Sockets and not asyncio's streams: those drop what was received, too, when sending fails.
"""

import asyncio
import hashlib
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

from runtime.edge import pages
from runtime.edge.config import EdgeConfig
from runtime.edge.limits import PAUSE_SECONDS

log = logging.getLogger(__name__)

_PIECE = 262_144
_LEAST_PIECE = 16_384  # bytes that must come within limits.PAUSE_SECONDS of waiting
_LAST_CHUNK = b"0\r\n\r\n"  # HAProxy passes no trailers on
_LINE_MOST = 108  # a PROXY header of version 1 has at most 107 bytes
_UNIX_PATH_BYTES = 108
_CONNECT_SECONDS = 3.0
_DRAIN_SECONDS = 30.0
_OF_ONE_VISITOR = (
    32  # bodies on their way to one shop; a quarter of what our own shop takes at once
)
_HEAD_MOST = 131_072
_VISITOR = re.compile(rb"\r\nx-forwarded-for:[ \t]*([0-9a-f.:]+)", re.IGNORECASE)


def address(state_dir: Path) -> str:
    """Return the name of this edge's abstract socket, without its leading NUL.

    Abstract, because HAProxy's workers may not look into the edge's directory.
    """
    return f"stoa-uploads-{hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]}"


class Uploads:
    """Serves on the loop that calls serve(); one task per upload."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        found = pages.files(config)
        self._too_slow, self._too_many = found["408.http"], found["too-many.http"]
        self._coming: dict[tuple[str, tuple[str, int]], set[_Body]] = {}

    def listen(self) -> socket.socket:
        """Return the listening socket; OSError when another edge agent has it."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name = f"\0{address(self._config.state_dir)}".encode()
            listener.bind(name.ljust(_UNIX_PATH_BYTES, b"\0"))  # HAProxy fills up with NULs too
        except OSError:
            listener.close()
            raise
        listener.listen(1024)
        listener.setblocking(False)
        return listener

    async def serve(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        under_way: set[asyncio.Task[None]] = set()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors: those who wait are taken later
                log.warning("an upload waits: %s", error)
                await asyncio.sleep(0.1)
                continue
            task = asyncio.ensure_future(self._pass_on(connection))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    async def _pass_on(self, proxy: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with proxy, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as shop:
            shop.setblocking(False)
            shop.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shop.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            body = _Body()
            try:
                place = await asyncio.wait_for(self._destination(proxy), _CONNECT_SECONDS)
                head = await asyncio.wait_for(_head(proxy), _CONNECT_SECONDS)
                body.seen(head)
                with self._counted((_visitor(head), place), body) as fits:
                    if not fits:
                        await self._refuse(proxy)
                        return
                    await asyncio.wait_for(loop.sock_connect(shop, place), _CONNECT_SECONDS)
                    await self._exchange(proxy, shop, head, body)
            except (OSError, TimeoutError, ValueError) as error:
                log.info("an upload was not passed on: %s", error)

    @contextmanager
    def _counted(self, of: tuple[str, tuple[str, int]], body: "_Body") -> Iterator[bool]:
        """Count a body among those on their way from a visitor to a shop; whether it fits."""
        own = self._coming.setdefault(of, set())
        fits = sum(not upload.is_whole for upload in own) < _OF_ONE_VISITOR
        try:
            own.add(body)
            yield fits
        finally:
            own.discard(body)
            if not own:
                self._coming.pop(of, None)

    async def _refuse(self, proxy: socket.socket) -> None:
        """Say that it is too much, and take the rest, or our reset would overtake the answer."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(proxy, self._too_many)
        proxy.shutdown(socket.SHUT_WR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await loop.sock_recv(proxy, _PIECE):
                    pass

    async def _exchange(
        self, proxy: socket.socket, shop: socket.socket, head: bytes, body: "_Body"
    ) -> None:
        loop = asyncio.get_running_loop()
        has_begun = asyncio.Event()
        sending = asyncio.ensure_future(_send(proxy, shop, head, body, has_begun))
        answering = asyncio.ensure_future(_answer(shop, proxy, has_begun))
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.result() and not has_begun.is_set():
                answering.cancel()
                with suppress(OSError):
                    await loop.sock_sendall(proxy, self._too_slow)
            else:
                await answering
                # The answer is out. What still comes is taken, or our reset would overtake it.
                await asyncio.wait({sending}, timeout=_DRAIN_SECONDS)
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _destination(self, proxy: socket.socket) -> tuple[str, int]:
        """Read the PROXY header, byte by byte as what follows it is the shop's."""
        loop = asyncio.get_running_loop()
        line = b""
        while not line.endswith(b"\r\n"):
            byte = await loop.sock_recv(proxy, 1)
            if not byte or len(line) >= _LINE_MOST:
                raise ValueError("HAProxy sent no PROXY header")
            line += byte
        words = line.decode("ascii", "replace").split()
        if len(words) != 6 or words[1] != "TCP4":
            raise ValueError(f"the PROXY header {line!r} names no IPv4 destination")
        host, port = IPv4Address(words[3]), int(words[5])
        if not self._config.leads_to_a_host(host, port):
            raise ValueError(f"{host}:{port} is no address of a host")
        return str(host), port


async def _head(proxy: socket.socket) -> bytes:
    """Return the request's head and what came with it."""
    loop = asyncio.get_running_loop()
    received = b""
    while b"\r\n\r\n" not in received:
        piece = await loop.sock_recv(proxy, _PIECE)
        if not piece or len(received) > _HEAD_MOST:
            raise ValueError("HAProxy sent no head")
        received += piece
    return received


def _visitor(head: bytes) -> str:
    """Return the visitor that the edge has named: an IPv4 address, or an IPv6 network of 64 bits."""
    named = _VISITOR.search(head)
    visitor = ip_address(named[1].decode()) if named else IPv4Address(0)
    return str(visitor) if visitor.version == 4 else str(ip_network((visitor, 64), strict=False))


class _Body:
    """Whether a request's body has come to its end, as far as its bytes were seen."""

    def __init__(self) -> None:
        self._head = b""
        self._left: int | None = None  # None while the head comes, and for a body in chunks
        self._tail = b""

    def seen(self, piece: bytes) -> None:
        """Count what came."""
        if self._tail or self._left is not None:
            self._count(piece)
            return
        self._head += piece
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            length = re.search(rb"\r\ncontent-length:[ \t]*(\d+)", head, re.IGNORECASE)
            self._left = int(length[1]) if length else None
            self._tail = b"."
            self._count(body)

    def _count(self, piece: bytes) -> None:
        if self._left is None:
            self._tail = (self._tail + piece)[-len(_LAST_CHUNK) :]
        else:
            self._left -= len(piece)

    @property
    def is_whole(self) -> bool:
        """Return whether nothing more is to be expected."""
        return self._tail == _LAST_CHUNK if self._left is None else self._left <= 0


async def _send(
    proxy: socket.socket, shop: socket.socket, head: bytes, body: _Body, has_begun: asyncio.Event
) -> bool:
    """Pass the request on; once the shop takes no more, take the rest all the same.

    False when the visitor sent too little for too long. Once an answer has begun both sides speak, and
    either may be silent, as in any stream.
    """
    loop = asyncio.get_running_loop()
    takes, waited, came = True, 0.0, 0
    with suppress(OSError):
        await loop.sock_sendall(shop, head)
    with suppress(OSError):
        while True:
            began = loop.time()
            try:
                patience = None if body.is_whole else max(0.01, PAUSE_SECONDS - waited)
                piece = await asyncio.wait_for(loop.sock_recv(proxy, _PIECE), patience)
            except TimeoutError:
                if not has_begun.is_set():
                    return False
                waited = 0.0
                continue
            if not piece:
                break
            body.seen(piece)
            # Only time in which nothing came counts: a shop that takes slowly is not the visitor's doing.
            waited, came = waited + loop.time() - began, came + len(piece)
            if came >= _LEAST_PIECE:
                waited, came = 0.0, 0
            if takes:
                try:
                    await loop.sock_sendall(shop, piece)
                except OSError:
                    takes = False
        if takes:
            shop.shutdown(socket.SHUT_WR)
    return True


async def _answer(shop: socket.socket, proxy: socket.socket, has_begun: asyncio.Event) -> None:
    """Pass the answer on to its end; a reset is one."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while piece := await loop.sock_recv(shop, _PIECE):
            has_begun.set()
            await loop.sock_sendall(proxy, piece)
    with suppress(OSError):
        proxy.shutdown(socket.SHUT_WR)
