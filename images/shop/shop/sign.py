"""Secrets, signatures and comparisons, on the interpreter's own SHA-256.

`hashlib` would load OpenSSL's libcrypto (4.6 MB of file, about 1 MB of private memory) into
every shop; HMAC is six lines.
"""

from __future__ import annotations

from _operator import _compare_digest as same  # constant time; what hmac.compare_digest is
from _sha256 import sha256
from binascii import b2a_base64
from posix import urandom

__all__ = ["digest", "same", "seal", "token", "unseal"]

_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return sha256(data).digest()


def token(random_bytes: int = 16) -> str:
    """A fresh secret for a cookie or an address: 16 bytes make 22 signs of A-Z a-z 0-9 - _."""
    return _text(urandom(random_bytes))


def mark(key: bytes, purpose: str, data: str) -> str:
    """A keyed mark of `data` for one purpose: 22 signs, 128 bits of HMAC-SHA-256."""
    return _text(_hmac(key, f"{purpose}\0{data}".encode())[:16])


def seal(key: bytes, purpose: str, data: str) -> str:
    """`data` with its mark, so that a browser can keep it but not change it."""
    return f"{data}~{mark(key, purpose, data)}"


def unseal(key: bytes, purpose: str, sealed: str) -> str | None:
    """Return what `seal` was given; None if anything was changed."""
    data, _, given = sealed.rpartition("~")
    return data if same(given.encode(), mark(key, purpose, data).encode()) else None


def _hmac(key: bytes, data: bytes) -> bytes:
    block = key.ljust(_BLOCK, b"\0")
    return digest(block.translate(_OUTER) + digest(block.translate(_INNER) + data))


def _text(raw: bytes) -> str:
    encoded = b2a_base64(raw, newline=False).rstrip(b"=")
    return encoded.translate(bytes.maketrans(b"+/", b"-_")).decode()
