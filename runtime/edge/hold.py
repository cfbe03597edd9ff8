"""The service HAProxy asks while it holds a request: it answers when the hostname's route changes.

HTTP on loopback, one request per connection: `GET /hold?host=<hostname>&tenant=<tenant>`. 200 with the new
value; 429 at once when too many are held; 504 when nothing changed in time. Never 503: that is what HAProxy
says itself while nobody answers here, and it asks again then. A later wake of sleeping shops fits in as
well: the question is the same, and a question about a hostname whose route says @asleep shows that its
tenant is wanted.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from runtime.edge.config import EdgeConfig
from runtime.edge.routes import is_held
from runtime.edge.uploads import Uploads

_ASK_SECONDS = 5.0
_Answer = tuple[int, str]


class HoldService:
    """Runs in a thread with an event loop of its own, uploads beside it; start() returns once both listen."""

    def __init__(self, config: EdgeConfig, *, lookup: Callable[[str], str]) -> None:
        self._config = config
        self._lookup = lookup
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._held: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="hold", daemon=True)
        self._opened = threading.Event()
        self._failure: OSError | None = None
        self._uploads = Uploads(config)

    def start(self) -> None:
        """Open the port; OSError when it is taken."""
        self._thread.start()
        self._opened.wait(10)
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Close the port and let go of everybody who waits."""
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def changed(self, hostnames: Collection[str]) -> None:
        """Tell those who wait for one of these hostnames to look again. Callable from any thread."""
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._wake, tuple(hostnames))

    @property
    def held(self) -> int:
        """Return how many requests are held now."""
        return self._held.total()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            listener = self._uploads.listen()
            server = self._loop.run_until_complete(
                asyncio.start_server(
                    self._serve, "127.0.0.1", self._config.hold_port, limit=8192, backlog=1024
                )
            )
        except OSError as error:
            self._failure = error
            self._opened.set()
            return
        self._opened.set()
        uploads = self._loop.create_task(self._uploads.serve(listener))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            uploads.cancel()
            listener.close()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()

    def _wake(self, hostnames: tuple[str, ...]) -> None:
        for hostname in hostnames:
            for event in self._waiting.get(hostname, ()):
                event.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _ASK_SECONDS)
            status, body = await self._answer(head, reader)
            writer.write(
                f"HTTP/1.1 {status} -\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
                f"Connection: close\r\n\r\n{body}".encode()
            )
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away or never spoke HTTP: nobody is left to answer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> _Answer:
        method, target, *_ = (*head.decode("ascii", "replace").split("\r\n")[0].split(" "), "", "")
        asked = urlsplit(target)
        query = parse_qs(asked.query)
        hostname, tenant = query.get("host", [""])[0], query.get("tenant", [""])[0]
        if method != "GET" or asked.path != "/hold" or not hostname or not tenant:
            return 400, "ask as GET /hold?host=<hostname>&tenant=<tenant>\n"
        value = self._lookup(hostname)
        if not is_held(value):
            return self._answer_of(value, tenant)
        if (
            self._held[tenant] >= self._config.held_per_tenant
            or self.held >= self._config.held_total
        ):
            return 429, "too many requests are held\n"
        self._held[tenant] += 1
        try:
            return self._answer_of(await self._next_value(hostname, reader), tenant)
        finally:
            self._held[tenant] -= 1
            if not self._held[tenant]:
                del self._held[tenant]

    @staticmethod
    def _answer_of(value: str, tenant: str) -> _Answer:
        """Return the answer for a route's value; a hostname that passed to another tenant is not followed."""
        if value.startswith(f"{tenant}@") and not is_held(value):
            return 200, value
        return 504, "no route yet\n"

    async def _next_value(self, hostname: str, reader: asyncio.StreamReader) -> str:
        """Wait until the hostname is no longer held, the time is over, or HAProxy hangs up."""
        event = asyncio.Event()
        self._waiting.setdefault(hostname, set()).add(event)
        gone = asyncio.ensure_future(reader.read(1))
        deadline = self._loop.time() + self._config.hold_seconds
        try:
            while (left := deadline - self._loop.time()) > 0 and not gone.done():
                # Looked up after the event is in place, so that no change can slip between.
                value = self._lookup(hostname)
                if not is_held(value):
                    return value
                event.clear()
                changed = asyncio.ensure_future(event.wait())
                await asyncio.wait(
                    {changed, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                changed.cancel()
            return self._lookup(hostname)
        finally:
            gone.cancel()
            self._waiting[hostname].discard(event)
            if not self._waiting[hostname]:
                del self._waiting[hostname]
