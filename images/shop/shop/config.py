"""Reads the shop's settings from its environment, and refuses wrong ones by name before it starts."""

from __future__ import annotations

LANGUAGES = ("en", "ja")


class SettingError(Exception):
    """A setting is missing or wrong; the message names it, its value and what would be right."""


class Config:
    """The settings the platform gives a shop (bytes to bytes, as `posix.environ` has them)."""

    __slots__ = (
        "currency",
        "data",
        "first_login_hash",
        "language",
        "name",
        "port",
        "public_url",
        "tenant",
    )

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        def read(name: str, default: str) -> str:
            raw = environ.get(name.encode(), b"")
            return raw.decode("utf-8", "replace").strip() or default

        self.port = _port(read("PORT", "8000"))
        self.tenant = read("STOA_TENANT", "shop")
        self.name = read("STOA_SHOP_NAME", self.tenant)[:80]
        self.language = read("STOA_LANGUAGE", "en")
        if self.language not in LANGUAGES:
            raise SettingError(f"STOA_LANGUAGE must be one of en, ja, not {self.language!r}")
        self.currency = read("STOA_CURRENCY", "JPY" if self.language == "ja" else "EUR")
        if len(self.currency) != 3 or not (self.currency.isascii() and self.currency.isupper()):
            raise SettingError(
                f"STOA_CURRENCY must be three capitals such as EUR, not {self.currency!r}"
            )
        self.public_url = read("STOA_PUBLIC_URL", "").rstrip("/")
        self.first_login_hash = _login_hash(read("STOA_FIRST_LOGIN_HASH", ""))
        self.data = read("STOA_DATA", "/data")


def _port(text: str) -> int:
    if text.isdecimal() and 0 <= int(text) <= 65535:
        return int(text)
    raise SettingError(f"PORT must be a whole number from 1 to 65535, not {text!r}")


def _login_hash(text: str) -> tuple[bytes, bytes] | None:
    """`sha256:<salt hex>:<hex of sha256(salt bytes + secret)>` taken apart; None when not given."""
    if not text:
        return None
    try:
        kind, salt, digest = text.split(":")
        parts = bytes.fromhex(salt), bytes.fromhex(digest)
    except ValueError:
        kind, parts = "", (b"", b"")
    if kind != "sha256" or len(parts[1]) != 32:
        raise SettingError("STOA_FIRST_LOGIN_HASH must look like sha256:<salt hex>:<64 hex digits>")
    return parts
