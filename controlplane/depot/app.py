"""The program `depot`: what agents fetch and bring, over TLS, apart from the web that people use.

A transfer lasts as long as the slowest network takes, and holds a thread all that time. So there are many
threads. Transfers may have most of them but never all, and one caller a quarter. When they are all in use,
a caller gets 503 with Retry-After at once. What is small (a route table, a join) always finds a thread.

gunicorn -c python:controlplane.serving.depot_server controlplane.depot.app
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from threading import Lock
from typing import Any

from django.core.wsgi import get_wsgi_application

from controlplane.serving.depot_server import THREADS

TRANSFERS = THREADS - 6
OF_ONE_CALLER = TRANSFERS // 4
RETRY_AFTER_SECONDS = 2
_SMALL = ("/internal/v1/ca", "/internal/v1/edges/", "/internal/v1/hosts/", "/internal/v1/join")

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


class Depot:
    """A WSGI application in front of another that counts transfers until their last byte is sent."""

    def __init__(
        self, app: App, *, transfers: int = TRANSFERS, of_one_caller: int = OF_ONE_CALLER
    ) -> None:
        self._app = app
        self._transfers = transfers
        self._of_one_caller = of_one_caller
        self._lock = Lock()
        self._running: Counter[bytes] = Counter()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve it, or say when to come again."""
        if str(environ.get("PATH_INFO", "")).startswith(_SMALL):
            return self._app(environ, start_response)
        caller = _caller(environ)
        if not self._enter(caller):
            start_response(
                "503 Service Unavailable",
                [("Retry-After", str(RETRY_AFTER_SECONDS)), ("Content-Length", "0")],
            )
            return []
        try:
            return _Counted(self._app(environ, start_response), lambda: self._leave(caller))
        except BaseException:
            self._leave(caller)
            raise

    def _enter(self, caller: bytes) -> bool:
        with self._lock:
            if (
                self._running.total() >= self._transfers
                or self._running[caller] >= self._of_one_caller
            ):
                return False
            self._running[caller] += 1
            return True

    def _leave(self, caller: bytes) -> None:
        with self._lock:
            self._running[caller] -= 1
            if self._running[caller] <= 0:
                del self._running[caller]


class _Counted:
    """A body that tells when it is over, however it ends."""

    def __init__(self, body: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended = ended
        self._is_over = False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """The server calls this once, after the last byte or when the caller went away."""
        if self._is_over:
            return
        self._is_over = True
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._ended()


def _caller(environ: Environ) -> bytes:
    """Return the caller: by credential, else by source address, because signed addresses differ each time."""
    said = environ.get("HTTP_AUTHORIZATION") or environ.get("REMOTE_ADDR") or ""
    return sha256(str(said).encode()).digest()


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")

application = Depot(get_wsgi_application())
