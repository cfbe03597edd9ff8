"""Asks the REST API. Errors become one clear line and an exit code."""

import http.client
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from controlplane.cli import config
from controlplane.cli.errors import CliError, of_status
from runtime.wire import parsed
from settings import inner

SECONDS = 30.0
Body = dict[str, Any]


class Api:
    """The API as one principal."""

    def __init__(self, access: config.Access) -> None:
        self._access = access

    def get(self, path: str, **query: str) -> Body:
        """GET /api/v1/<path>."""
        words = urlencode({name: value for name, value in query.items() if value})
        return self.call("GET", f"{path}?{words}" if words else path)

    def every(self, path: str, **query: str) -> Iterator[Body]:
        """Yield every row of a list, page after page."""
        page = self.get(path, page_size="200", **query)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self._ask("GET", _path_of(page["next"]), None)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Body:
        """Any call; {} for an answer without a body."""
        return self._ask(method, f"/api/v1/{path}", body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Body:
        headers = {"Authorization": f"Bearer {self._access.token}", "Accept": "application/json"}
        if self._access.host_header:
            headers["Host"] = self._access.host_header
        if body is not None:
            headers["Content-Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        connection = _connection(self._access.url)
        try:
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CliError(f"{self._access.url} does not answer: {error}") from error
        finally:
            connection.close()
        return _answer(status, text, self._access.url)


def api() -> Api:
    """Return the API as configured."""
    return Api(config.access())


def _connection(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    if place.scheme == "http" and place.hostname:
        return http.client.HTTPConnection(place.hostname, place.port, timeout=SECONDS)
    if place.scheme == "https" and place.hostname:
        context = ssl.create_default_context(cafile=inner.CA.of(os.environ))
        return http.client.HTTPSConnection(
            place.hostname, place.port, timeout=SECONDS, context=context
        )
    raise CliError(f"the address is {url!r}; it must be http(s)://<host>[:<port>]", code=2)


def _path_of(url: str) -> str:
    place = urlsplit(url)
    return f"{place.path}?{place.query}"


def _answer(status: int, text: bytes, url: str) -> Body:
    try:
        body = parsed(text) if text else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise CliError(f"{url} answered {status} with no JSON; is this a Stoa's console?")
    if status < http.client.BAD_REQUEST:
        return body
    detail = str(body.get("detail") or f"{url} answered {status}")
    if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        detail += " (stoa login, or STOA_TOKEN)"
    raise of_status(status, detail)
