"""Takes apart what browsers send (queries, forms, cookies) and makes text safe to show.

Does the work of urllib.parse, http.cookies and html, none of which is imported: together
they would bring in re, email and collections.
"""

from __future__ import annotations

from binascii import a2b_hex

MAX_FIELDS = 64
_ESCAPES = {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    ord("'"): "&#39;",
}
# Control characters have no place in a page; NUL would even end the text in some tools.
_ESCAPES.update({code: "" for code in range(32) if code not in (9, 10, 13)})
_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def escape(text: object) -> str:
    """Text for HTML, safe between tags and inside quoted attributes."""
    return str(text).translate(_ESCAPES)


def percent_decode(raw: bytes) -> str:
    """`%E3%81%82` to text; broken escapes stay as they are, bytes that are not UTF-8 become U+FFFD."""
    if b"%" not in raw:
        return raw.decode("utf-8", "replace")
    first, *rest = raw.split(b"%")
    parts = [first]
    for piece in rest:
        try:
            parts.append(a2b_hex(piece[:2]) + piece[2:])
        except ValueError:
            parts.append(b"%" + piece)
    return b"".join(parts).decode("utf-8", "replace")


def percent_encode(text: str) -> str:
    """Text for a place in a query."""
    return "".join(chr(b) if b in _SAFE else f"%{b:02X}" for b in text.encode())


def parse_fields(raw: bytes) -> dict[str, str]:
    """A query or an urlencoded body as a dict; the first of a repeated name counts, at most 64."""
    fields: dict[str, str] = {}
    for pair in raw.split(b"&", MAX_FIELDS)[:MAX_FIELDS]:
        name, _, value = pair.replace(b"+", b" ").partition(b"=")
        if name:
            fields.setdefault(percent_decode(name), percent_decode(value))
    return fields


def parse_cookies(header: str) -> dict[str, str]:
    """A Cookie header as a dict; the first of a repeated name counts."""
    cookies: dict[str, str] = {}
    for pair in header.split(";", MAX_FIELDS)[:MAX_FIELDS]:
        name, _, value = pair.strip().partition("=")
        cookies.setdefault(name, value)
    return cookies


def one_line(text: str, most: int) -> str:
    """A field for one line: white space runs to one blank, no control characters, at most `most`."""
    return " ".join(text.split())[: most + 1].translate(_ONLY_PRINTABLE)


def many_lines(text: str, most: int) -> str:
    """A field of several lines: line ends to \\n, no other control characters, trimmed."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return text[: most + 1].translate(_ONLY_PRINTABLE)


_ONLY_PRINTABLE = dict.fromkeys((*range(10), *range(11, 32), 127))
