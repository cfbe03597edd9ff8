"""Slow password hashing, in a child process of its own.

scrypt takes a quarter of a second and 8 MB, and OpenSSL, which does it, another few MB that
are never given back. A child takes all of that with it when it ends, and the shop goes on
serving meanwhile.
"""

# ruff: noqa: SLF001 - `_accept` and `_exit` are what socket and os wrap

from __future__ import annotations

import gc
import posix
from _signal import SIG_DFL, SIGINT, SIGTERM, set_wakeup_fd, signal

from . import sign
from .messages import HttpError, Response
from .server import Later

_COST = (1 << 13, 8, 10)  # n, r, p: 8 MB; as strong as n = 2^14, p = 5, at half the memory

_running = 0


def make(secret: str, finish) -> Later:
    """Work out what to keep for a new password; `finish(kept: str) -> Response` gets it."""
    salt = posix.urandom(16)

    def done(digest: bytes) -> Response:
        n, r, p = _COST
        return finish(f"scrypt:{n}:{r}:{p}:{salt.hex()}:{digest.hex()}")

    return _in_child(secret, salt, _COST, done)


def check(secret: str, kept: str, finish) -> Later:
    """Work out whether a password is the kept one; calls `finish(right: bool) -> Response`."""
    _, n, r, p, salt, digest = kept.split(":")
    expected = bytes.fromhex(digest)
    return _in_child(
        secret,
        bytes.fromhex(salt),
        (int(n), int(r), int(p)),
        lambda found: finish(sign.same(found, expected)),
    )


def _in_child(secret: str, salt: bytes, cost: tuple[int, int, int], finish) -> Later:
    """One at a time: several would only wait for each other, with 8 MB each. HttpError 503."""
    global _running
    if _running:
        raise HttpError(503)
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    gc.disable()  # a collection in the child would copy every page it looks at
    try:
        pid = posix.fork()
    except OSError as error:  # no room for one more process
        posix.close(reader)
        posix.close(writer)
        raise HttpError(503) from error
    finally:
        gc.enable()
    if pid == 0:
        _work(writer, secret, salt, cost)
    posix.close(writer)
    _running += 1

    def collected(data: bytes) -> Response:
        global _running
        _running -= 1
        if len(data) != 64:
            raise HttpError(503)  # the child was killed, most likely for want of memory
        return finish(data)

    return Later(reader, pid, collected)


def _work(writer: int, secret: str, salt: bytes, cost: tuple[int, int, int]) -> None:
    """In the child: never returns."""
    try:
        set_wakeup_fd(-1)
        for number in (SIGTERM, SIGINT):
            signal(number, SIG_DFL)
        from _hashlib import scrypt

        n, r, p = cost
        posix.write(writer, scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r))
    finally:
        posix._exit(0)
