"""Refuses bad requests in one place, before anything parses, spools or stores them.

A body has a limit, whether its length was announced or it comes in chunks, and is read here once. No view
takes files, so a multipart body that brings one is never parsed. What is no UTF-8, or holds a sign that
PostgreSQL cannot keep, never reaches a view: path, query, cookies and form fields are looked at here, JSON
as it is parsed (tenants/api/base.py). The answer names the field.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _

from tenants.errors import BusyError, QueryError, TooManyTriesError
from tenants.http import refusals
from tenants.snapshots.repositories import addresses

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
# A part of a multipart body that is one field of a form: with a file name, or a type, it is a file.
_IS_FIELD = re.compile(
    rb'Content-Disposition: form-data; name="([^"\r\n]*)"(?:\r\n\r\n|$)', re.IGNORECASE
)
_JSON = ("/api/", "/internal/")
# Control signs but tab, line feed and carriage return, which text areas and JSON hold.
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BAD_IN_LINE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_PIECE = 16 * 1024
_MOST_DIGITS = 18


class StrictRequests:
    """Django middleware: refuses, or passes on a request whose body is in memory."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Look at the request, then let the others."""
        return self._refused(request) or self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Pages need not catch what any of them may meet."""
        if isinstance(error, TooManyTriesError | BusyError | QueryError):
            return refusals.of_error(request, error)
        return None

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        field = _bad_part(request)
        if field:
            return _bad_value(request, field)
        if request.path_info.startswith(addresses.PREFIX):
            return None  # archives: their view reads them piece by piece, by a limit of its own
        return _refused_body(request)


def _refused_body(request: HttpRequest) -> HttpResponse | None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdecimal()):
        return _bad_value(request, "Content-Length")
    # A server that takes chunks apart says where the body ends by the end of its input.
    is_chunked = bool(request.META.get("HTTP_TRANSFER_ENCODING"))
    if not is_chunked and not length.strip("0"):
        return None
    if len(length) > _MOST_DIGITS or int(length) > settings.STOA_BODY_BYTES:
        return _too_large(request)
    body = _read(request, is_chunked=is_chunked)
    if body is None:
        return _too_large(request)
    request._stream = BytesIO(body)  # noqa: SLF001 - Django has no public way
    request.META["CONTENT_LENGTH"] = str(len(body))
    # The API names the media types it reads itself.
    return None if request.path_info.startswith(_JSON) else _refused_form(request, body)


def _refused_form(request: HttpRequest, body: bytes) -> HttpResponse | None:
    charset = (request.content_params or {}).get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8"}:
        return _wrong_type(request)
    if request.content_type == MULTIPART:
        parts = [*_parts(body)]
        if not all(_IS_FIELD.match(part) for part in parts):
            return _wrong_type(request)
        fields: Iterable[tuple[str, bytes]] = (_named(part) for part in parts)
    elif body and request.content_type != FORM:
        return _wrong_type(request)
    else:
        fields = _pairs(body)
    field = next((name for name, value in fields if not _is_text(value)), None)
    return None if field is None else _bad_value(request, field)


def _parts(body: bytes) -> list[bytes]:
    """Return the parts of a multipart body, by the boundary that it begins with."""
    boundary = body.partition(b"\r\n")[0]
    if not boundary.startswith(b"--"):
        return [body]
    return [part.removeprefix(b"\r\n") for part in body.split(boundary)[1:-1]]


def _named(part: bytes) -> tuple[str, bytes]:
    head = part.partition(b"\r\n\r\n")[0]
    name = _IS_FIELD.match(head)
    return (name[1].decode("ascii", "backslashreplace")[:60] if name else "body"), part


def _read(request: Any, *, is_chunked: bool) -> bytes | None:
    """Return the whole body; None when it is larger than it may be."""
    # Django's own stream ends at Content-Length, which chunks do not have: it would give nothing.
    source = request.META["wsgi.input"] if is_chunked else request._stream  # noqa: SLF001
    body, most = bytearray(), settings.STOA_BODY_BYTES
    while len(body) <= most and (piece := source.read(_PIECE)):
        body += piece
    return None if len(body) > most else bytes(body)


def _bad_part(request: HttpRequest) -> str:
    """Return the name of the part of the request's head that cannot be used; "" when all is well."""
    if _BAD_IN_LINE.search(request.path_info) or "\ufffd" in request.path_info:
        return "path"
    if not _is_path(request):
        return "path"
    query = request.META.get("QUERY_STRING", "").encode("latin-1", "replace")
    for name, value in _pairs(query):
        if not _is_text(value):
            return name
    return next((name for name, value in request.COOKIES.items() if _BAD.search(value)), "")


def _is_path(request: HttpRequest) -> bool:
    # Django mends a broken path by writing its bytes as %XX again: that is no address of ours.
    raw = request.META.get("PATH_INFO", "").encode("latin-1", "replace")
    return _is_text(raw)


def _pairs(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and values as sent; a name that cannot be used stands for itself among the bad ones."""
    for pair in text.split(b"&"):
        name, _equals, value = pair.replace(b"+", b" ").partition(b"=")
        plain = unquote_to_bytes(name)
        if _is_text(plain):
            yield plain.decode()[:60], unquote_to_bytes(value)
        else:
            yield ascii(plain[:60])[2:-1], plain


def _is_text(value: bytes) -> bool:
    try:
        return _BAD.search(value.decode()) is None
    except UnicodeDecodeError:
        return False


def bad_json(value: Any, field: str = "") -> str | None:
    """Return the path to the first name or text in parsed JSON that cannot be used; None when all is well."""
    if isinstance(value, str):
        return field if _BAD.search(value) else None
    if isinstance(value, dict):
        inside = (
            (f"{field}.{name}" if field else str(name), inner) for name, inner in value.items()
        )
        bad_name = next((name for name in value if _BAD.search(name)), None)
        if bad_name is not None:
            return ascii(bad_name[:60])[1:-1]
    elif isinstance(value, list):
        inside = ((f"{field}[{place}]", inner) for place, inner in enumerate(value))
    else:
        return None
    return next((bad for name, inner in inside if (bad := bad_json(inner, name)) is not None), None)


def _bad_value(request: HttpRequest, field: str) -> HttpResponse:
    words = _("“%(field)s” contains characters that cannot be used. It must be text in UTF-8.") % {
        "field": field
    }
    return refusals.answer(request, 400, "invalid", words, field=field)


def _too_large(request: HttpRequest) -> HttpResponse:
    words = _("This is too large. At most %(most)d KiB can be sent here.") % {
        "most": settings.STOA_BODY_BYTES // 1024
    }
    return refusals.answer(request, 413, "too_large", words)


def _wrong_type(request: HttpRequest) -> HttpResponse:
    words = _("Only forms of type %(type)s can be sent here, without files.") % {"type": FORM}
    if request.path_info.startswith(_JSON):
        words = _("Only bodies of type application/json are read here.")
    return refusals.answer(request, 415, "unsupported_media_type", words)
