"""A shelf for archives, as hosts meet one: an HTTP server on loopback that takes PUT and gives GET."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runtime.volume_requests import VolumePart, VolumeSaved


class Shelf:
    """Keeps what was PUT. log: what it was asked.

    status, said: what it answers instead, while it is set. is_hasty: it does so before the body has come.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.kept: dict[str, bytes] = {}
        self.status = 0
        self.said = b""
        self.is_hasty = False
        self.log: list[str] = []

    def address(self, snapshot: str) -> str:
        """Where a snapshot's archive is PUT and GET."""
        return f"{self.url}/{snapshot}?sig=0123"

    def part(self, saved: VolumeSaved) -> VolumePart:
        """What a chain says of an archive that was put here."""
        return VolumePart(
            saved.snapshot, saved.sha256, saved.archive_bytes, self.address(saved.snapshot)
        )


@contextmanager
def shelf() -> Iterator[Shelf]:
    """Run a shelf for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            if there.is_hasty:
                self._answer(there.status, there.said)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            there.log.append(f"PUT {self._name()}")
            if not there.status:
                there.kept[self._name()] = body
            self._answer(there.status or 201, there.said)

        def do_GET(self) -> None:
            there.log.append(f"GET {self._name()}")
            found = there.kept.get(self._name())
            if there.status:
                self._answer(there.status, there.said)
                return
            self._answer(404 if found is None else 200, found or b"")

        def _name(self) -> str:
            return self.path.partition("?")[0].strip("/")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Shelf(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
