"""HTTP/1.1 messages as values: a strict reader for request heads, a writer for responses.

Strict, because a proxy stands in front: what two programs could read in two ways is refused.
"""

from __future__ import annotations

from time import gmtime, time

from .forms import parse_cookies, parse_fields, percent_decode

# At least what an edge lets through (runtime/edge/limits.py), with the lines it adds.
MAX_TARGET = 8192
MAX_HEAD = 45056
MAX_HEADERS = 220
MAX_BODY = 65536  # the longest form, a product with 4,000 Japanese signs, is 37 kB encoded

REASONS = {
    200: "OK",
    204: "No Content",
    303: "See Other",
    304: "Not Modified",
    308: "Permanent Redirect",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class HttpError(Exception):
    """The request cannot be served; `status` says why."""

    def __init__(self, status: int, why: str = "") -> None:
        super().__init__(why or REASONS[status])
        self.status = status


class Request:
    """One request: head read, body filled in by the server once it is whole."""

    __slots__ = ("body", "headers", "keep_alive", "length", "method", "path", "query")

    def __init__(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str]
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.keep_alive = True
        self.length = 0
        self.body = b""

    @property
    def cookies(self) -> dict[str, str]:
        return parse_cookies(self.headers.get("cookie", ""))

    @property
    def secure(self) -> bool:
        """Return whether the visitor's own connection is encrypted, as the proxy says."""
        return self.headers.get("x-forwarded-proto", "") == "https"

    @property
    def client(self) -> str:
        """The visitor's address, as the proxy says; the edge deletes what a visitor sent."""
        return self.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:45]

    @property
    def host(self) -> str:
        return self.headers.get("x-forwarded-host") or self.headers.get("host", "")

    def form(self) -> dict[str, str]:
        """The urlencoded body's fields; HttpError 415 when the body is something else."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise HttpError(415, "forms are sent as application/x-www-form-urlencoded")
        return parse_fields(self.body)


class Response:
    """One response; `headers` are lines in order, so that a name may come twice."""

    __slots__ = ("body", "headers", "kind", "status")

    def __init__(
        self,
        body: str | bytes = b"",
        status: int = 200,
        kind: str = "text/html; charset=utf-8",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.body = body.encode("utf-8", "replace") if isinstance(body, str) else body
        self.status = status
        self.kind = kind
        self.headers = list(headers)

    def encode(self, *, head_only: bool, keep_alive: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}", f"Date: {_date(int(time()))}"]
        if self.status not in (204, 304):
            lines.append(f"Content-Type: {self.kind}")
            lines.append(f"Content-Length: {len(self.body)}")
        lines.append("X-Content-Type-Options: nosniff")
        lines.extend(f"{name}: {value}" for name, value in self.headers)
        lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        return head if head_only or self.status in (204, 304) else head + self.body


def redirect(to: str, status: int = 303) -> Response:
    """Send the browser to a path of this shop."""
    return Response(status=status, kind="text/plain", headers=(("Location", to),))


def parse_head(raw: bytes) -> Request:
    """The head of a request (without its empty line) as a Request; HttpError when it is not one."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    if len(first) > MAX_TARGET:
        raise HttpError(414)
    if len(lines) > MAX_HEADERS:
        raise HttpError(431)
    words = first.split(" ")
    if len(words) != 3 or not words[0] or not _TOKEN.issuperset(words[0]):
        raise HttpError(400, "not a request line")
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505 if version.startswith("HTTP/") else 400)
    headers = _headers(lines)
    if version == "HTTP/1.1" and "host" not in headers:
        raise HttpError(400, "no Host")
    path, query = _target(target)
    request = Request(method, path, query, headers)
    wish = headers.get("connection", "").lower()
    request.keep_alive = "close" not in wish and (version == "HTTP/1.1" or "keep-alive" in wish)
    request.length = _length(headers)
    return request


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        # A blank in the name covers folded lines and "Name :" as well.
        if not colon or not name or not _TOKEN.issuperset(name):
            raise HttpError(400, "not a header")
        if "\0" in value or "\n" in value or "\r" in value:
            raise HttpError(400, "control characters in a header")
        name, value = name.lower(), value.strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name in ("host", "content-length", "transfer-encoding"):
            raise HttpError(400, f"two headers named {name}")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value
    return headers


def _target(target: str) -> tuple[str, dict[str, str]]:
    if target.startswith(("http://", "https://")):
        target = "/" + target.partition("://")[2].partition("/")[2]
    if not target.startswith("/") or not target.isascii() or not target.isprintable():
        raise HttpError(400, "not a path")
    path, _, query = target.encode().partition(b"?")
    decoded = percent_decode(path)
    if "\0" in decoded:
        raise HttpError(400, "not a path")
    return decoded, parse_fields(query) if query else {}


def _length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise HttpError(400 if "content-length" in headers else 411)
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal()):
        raise HttpError(400, "Content-Length is not a number")
    if len(text) > 15 or int(text) > MAX_BODY:
        raise HttpError(413)
    return int(text)


def _date(now: int) -> str:
    t = gmtime(now)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )
