"""Server-sent events of operations: GET /events/operations/<public_id>, as a plain ASGI application.

One task per process reads all watched operations four times a second with one query, however many
pages are open; pages share the result. A stream sends the rendered steps whenever they change, a
comment every 15 seconds, `event: end` when the operation has ended, and closes after 10 minutes at
the latest: browsers reconnect by themselves.

Each request costs a query, so only a limited number may wait for admission, a few of one address. Who opens
one more page than STREAMS_EACH closes their oldest.
"""

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.cookies import SimpleCookie
from importlib import import_module
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import get_user
from django.db import OperationalError, close_old_connections
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone, translation

from tenants.accounts.models import Member
from tenants.http import visitors
from tenants.operations import progress
from tenants.operations.progress import OperationProgress

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

TICK_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
LIFE_SECONDS = 600.0
RETRY_MILLISECONDS = 1500
STREAMS_EACH = 16
STREAMS_TOGETHER = 2000
KNOCKS_EACH, KNOCKS_TOGETHER = 8, 200  # waiting at the door at the same moment
_SESSION = re.compile(r"[a-z0-9]{20,40}")
_PATH = re.compile(r"/events/operations/([a-z0-9_]{1,24})/?")
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]

# Two threads keep two database connections, whatever the number of pages: one for the ticks and
# one beside it, so that a crowd of new pages cannot slow down those already open.
_ticker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events-tick")
_doorman = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events-door")


class Hub:
    """Reads what is watched, for everybody at once, as long as anybody watches."""

    def __init__(self) -> None:
        self.latest: dict[str, OperationProgress] = {}
        self._watchers: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._ticked = asyncio.Condition()

    async def enter(self, public_id: str) -> None:
        """Begin to watch an operation."""
        self._watchers[public_id] = self._watchers.get(public_id, 0) + 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def leave(self, public_id: str) -> None:
        """Stop watching it; the reading ends with the last watcher."""
        self._watchers[public_id] -= 1
        if not self._watchers[public_id]:
            del self._watchers[public_id]
            self.latest.pop(public_id, None)

    async def tick(self) -> None:
        """Wait until everything watched has been read again."""
        async with self._ticked:
            await self._ticked.wait()

    async def _run(self) -> None:
        while self._watchers:
            watched = list(self._watchers)
            # PostgreSQL may be away for a moment: pages keep what they have and wait.
            with suppress(OperationalError):
                read = await _in(_ticker, partial(progress.progress_of, watched))
                self.latest = {key: value for key, value in read.items() if key in self._watchers}
            async with self._ticked:
                self._ticked.notify_all()
            await asyncio.sleep(TICK_SECONDS)


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI entry point; everything but the one path is answered 404."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] != "http":
        return
    found = _PATH.fullmatch(scope["path"])
    if found is None or scope["method"] != "GET":
        await _answer(send, 404)
        return
    public_id = found.group(1)
    request = _request(scope)
    if not _SESSION.fullmatch(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")):
        await _answer(send, 404)  # no session has such a name: nobody need be asked
        return
    source = visitors.source_of(request)
    if not _door.enter(source):
        await _answer(send, 503)
        return
    try:
        member = await _in(_doorman, partial(_who_may_follow, request, public_id))
    finally:
        _door.leave(source)
    if member is None:
        await _answer(send, 404)
        return
    language = translation.get_language_from_request(request)
    stream = asyncio.create_task(_stream(public_id, language, send))
    gone = asyncio.create_task(_until_gone(receive))
    _streams.open(member, stream)
    await asyncio.wait({stream, gone}, return_when=asyncio.FIRST_COMPLETED)
    _streams.close(member, stream)
    for task in (stream, gone):
        task.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await task


class Door:
    """How many wait to be looked at: all together, and of one address."""

    def __init__(self, *, each: int = KNOCKS_EACH, together: int = KNOCKS_TOGETHER) -> None:
        self._each, self._together = each, together
        self._waiting: Counter[str] = Counter()

    def enter(self, source: str) -> bool:
        """Wait at the door; False when it is too crowded for this one."""
        if self._waiting[source] >= self._each or self._waiting.total() >= self._together:
            return False
        self._waiting[source] += 1
        return True

    def leave(self, source: str) -> None:
        """Looked at."""
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source]


class Streams:
    """The open streams of each member. A member with too many loses the oldest for a new one."""

    def __init__(self, *, each: int = STREAMS_EACH, together: int = STREAMS_TOGETHER) -> None:
        self._each, self._together = each, together
        self._of: dict[int, list[asyncio.Task[None]]] = {}

    def open(self, member: int, stream: "asyncio.Task[None]") -> None:
        """Note a new one."""
        own = self._of.setdefault(member, [])
        if len(own) >= self._each:
            own.pop(0).cancel()
        elif sum(len(streams) for streams in self._of.values()) >= self._together:
            max(self._of.values(), key=len).pop(0).cancel()
        self._of.setdefault(member, own).append(stream)

    def close(self, member: int, stream: "asyncio.Task[None]") -> None:
        """Forget a stream that has ended."""
        own = self._of.get(member, [])
        if stream in own:
            own.remove(stream)
        if not own:
            self._of.pop(member, None)


_door = Door()
_streams = Streams()


async def _stream(public_id: str, language: str, send: Send) -> None:
    hub = _hubs.setdefault(asyncio.get_running_loop(), Hub())
    await hub.enter(public_id)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _say(send, f"retry: {RETRY_MILLISECONDS}\n\n")
        began = spoke = time.monotonic()
        last_id = ""
        while time.monotonic() - began < LIFE_SECONDS:
            await hub.tick()
            progress = hub.latest.get(public_id)
            if progress is not None and (new_id := _version(progress)) != last_id:
                last_id, spoke = new_id, time.monotonic()
                await _say(send, _event("progress", last_id, _render(progress, language)))
                if not progress.is_open:
                    await _say(send, _event("end", last_id, progress.state))
                    break
            elif time.monotonic() - spoke >= HEARTBEAT_SECONDS:
                spoke = time.monotonic()
                await _say(send, ": still here\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        hub.leave(public_id)


def _event(name: str, event_id: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"id: {event_id}\nevent: {name}\n{lines}\n"


def _version(progress: OperationProgress) -> str:
    return hashlib.sha256(repr(progress).encode()).hexdigest()[:16]


def _render(progress: OperationProgress, language: str) -> str:
    with translation.override(language):
        context = {"progress": progress, "now": timezone.now()}
        return render_to_string("signup/_progress.html", context)


def _request(scope: Message) -> HttpRequest:
    """Return as much of a request as sessions and languages need."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    request = HttpRequest()
    request.path = request.path_info = scope["path"]
    request.META["HTTP_ACCEPT_LANGUAGE"] = headers.get("accept-language", "")
    request.META["HTTP_X_FORWARDED_FOR"] = headers.get("x-forwarded-for", "")
    request.META["REMOTE_ADDR"] = str((scope.get("client") or [""])[0])
    cookies: SimpleCookie = SimpleCookie()
    with suppress(Exception):  # a cookie that cannot be read is no cookie
        cookies.load(headers.get("cookie", ""))
    request.COOKIES.update({name: morsel.value for name, morsel in cookies.items()})
    return request


def _who_may_follow(request: HttpRequest, public_id: str) -> int | None:
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request.session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    member = get_user(request)
    may = isinstance(member, Member) and progress.may_follow(member, public_id)
    return member.pk if may else None


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, _with_fresh_connection, work)


def _with_fresh_connection(work: Callable[[], T]) -> T:
    # Drops a connection that is too old or broken; a good one is kept for the next call.
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _say(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    words = b"not found\n"
    if status == 503:
        headers.append((b"retry-after", b"2"))
        words = b"too many ask at the same time; ask again\n"
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words, "more_body": False})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
