"""The event stream: what it sends, when it ends, and to whom it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator as _ApplicationCommunicator
from django.conf import settings
from django.db import connections
from django.http import HttpRequest
from django.test import Client

from controlplane import events
from tenants.accounts.models import Member
from tenants.operations import progress
from tenants.operations.models import Operation
from tenants.states import OperationState, StepState
from tests.pages.conftest import Cast, end, make_shop

Browser = Callable[[Member | None], Client]

open_connection: Any = _ApplicationCommunicator  # untyped in asgiref

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ticks without waiting; afterwards the stream's threads let go of the test's database."""
    monkeypatch.setattr(events, "TICK_SECONDS", 0.02)
    yield
    for pool in (events._ticker, events._doorman):
        pool.submit(connections.close_all).result()


def listen(client: Client, public_id: str, language: str = "en") -> Any:
    """A page that opens the stream with the client's cookies."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": f"/events/operations/{public_id}",
        "headers": [
            (b"cookie", cookies.encode()),
            (b"accept-language", language.encode()),
        ],
    }
    return open_connection(events.application, scope)


async def status(stream: Any) -> int:
    """Send the request and read the head of the answer."""
    await stream.send_input({"type": "http.request"})
    head = await stream.receive_output(5)
    return int(head["status"])


async def text_until(stream: Any, words: str) -> str:
    """Read on until these words have come."""
    text = ""
    while words not in text:
        message = await stream.receive_output(5)
        text += message.get("body", b"").decode()
        assert message.get("more_body") or words in text, text
    return text


def run(work: Awaitable[None]) -> None:
    """Run one page's life."""

    async def whole() -> None:
        await work
        await sync_to_async(connections.close_all)()

    asyncio.run(whole())


def test_a_stream_sends_the_steps_then_every_change_then_the_end(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    client = page(cast.alice)

    async def life() -> None:
        stream = listen(client, operation.public_id)
        assert await status(stream) == 200
        first = await text_until(stream, "Find a place for your shop")
        assert "event: progress" in first
        assert "id: " in first
        change = sync_to_async(operation.steps.filter(name="place").update)
        await change(state=StepState.ACTIVE)
        await text_until(stream, "Step 1 of 4")
        await sync_to_async(end)(operation, OperationState.SUCCEEDED)
        last = await text_until(stream, "event: end")
        assert "data: succeeded" in last
        await stream.wait(5)

    run(life())


def test_an_operation_that_has_ended_is_told_at_once(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    end(operation, OperationState.FAILED, code="no_room")
    client = page(cast.alice)

    async def life() -> None:
        stream = listen(client, operation.public_id)
        await status(stream)
        assert "data: failed" in await text_until(stream, "event: end")
        await stream.wait(5)

    run(life())


def test_a_stream_speaks_the_readers_language(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    client = page(cast.alice)

    async def life() -> None:
        stream = listen(client, operation.public_id, language="ja")
        await status(stream)
        await text_until(stream, "ショップの場所を確保")
        await stream.send_input({"type": "http.disconnect"})
        await stream.wait(5)

    run(life())


def test_nobody_else_may_listen(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    bob, nobody, liar = page(cast.bob), page(None), page(None)
    liar.cookies[settings.SESSION_COOKIE_NAME] = "not-a-session"

    async def life() -> None:
        for client in (bob, nobody, liar):
            assert await status(listen(client, operation.public_id)) == 404
        assert await status(listen(bob, "op_unknown")) == 404
        assert await status(listen(bob, "../../etc")) == 404

    run(life())


def test_a_quiet_stream_is_kept_alive(
    page: Browser, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    operation = make_shop(cast.alice, "acme")
    client = page(cast.alice)

    async def life() -> None:
        stream = listen(client, operation.public_id)
        await status(stream)
        await text_until(stream, ": still here")
        await stream.send_input({"type": "http.disconnect"})
        await stream.wait(5)

    run(life())


def test_a_stream_ends_after_its_life_so_that_browsers_come_anew(
    page: Browser, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LIFE_SECONDS", 0.1)
    operation = make_shop(cast.alice, "acme")
    client = page(cast.alice)

    async def life() -> None:
        stream = listen(client, operation.public_id)
        await status(stream)
        await stream.wait(5)

    run(life())


def test_many_pages_are_served_by_one_query_a_tick(
    page: Browser, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops: list[Operation] = [make_shop(cast.alice, f"shop-{number}") for number in range(6)]
    client = page(cast.alice)
    asked: list[int] = []
    read = progress.progress_of

    def counted(ids: list[str]) -> object:
        asked.append(len(ids))
        return read(ids)

    monkeypatch.setattr(progress, "progress_of", counted)
    monkeypatch.setattr(events, "TICK_SECONDS", 0.2)

    async def life() -> None:
        streams = [listen(client, shop.public_id) for shop in shops for _ in range(3)]
        for stream in streams:
            assert await status(stream) == 200
        before = len(asked)
        await asyncio.sleep(0.7)
        assert len(asked) - before <= 4
        assert asked[-1] == 6
        for stream in streams:
            await stream.send_input({"type": "http.disconnect"})
            await stream.wait(5)
        await asyncio.sleep(0.5)
        rested = len(asked)
        await asyncio.sleep(0.5)
        assert len(asked) == rested  # nobody watches: nothing is read

    run(life())


def test_a_member_has_so_many_streams_and_the_newest_are_served(
    page: Browser, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_streams", events.Streams(each=3))
    operation = make_shop(cast.alice, "acme")
    client = page(cast.alice)

    async def life() -> None:
        streams = [listen(client, operation.public_id) for _ in range(5)]
        for stream in streams:
            assert await status(stream) == 200
            await text_until(stream, "event: progress")
        for oldest in streams[:2]:
            await oldest.wait(5)
        await sync_to_async(end)(operation, OperationState.SUCCEEDED)
        for newest in streams[2:]:
            await text_until(newest, "event: end")
            await newest.wait(5)

    run(life())


def test_who_knocks_with_made_up_cookies_is_turned_away_and_stalls_nobody(
    page: Browser, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = events._who_may_follow

    def look(request: HttpRequest, public_id: str) -> int | None:
        asked.append(public_id)
        return real(request, public_id)

    monkeypatch.setattr(events, "_who_may_follow", look)
    operation = make_shop(cast.alice, "acme")
    client = page(cast.alice)

    async def knock(cookie: str) -> int:
        knocker = Client()
        knocker.cookies[settings.SESSION_COOKIE_NAME] = cookie
        stream = listen(knocker, operation.public_id)
        code = await status(stream)
        await stream.wait(5)
        return code

    async def life() -> None:
        codes = await asyncio.gather(*(knock("nonsense") for _ in range(100)))
        assert set(codes) == {404}
        assert not asked, "what cannot be a session's name costs no query"
        codes = await asyncio.gather(*(knock(f"{n:032}") for n in range(100)))
        assert set(codes) == {404, 503}
        assert len(asked) <= 2 * events.KNOCKS_EACH
        stream = listen(client, operation.public_id)
        assert await status(stream) == 200
        await stream.send_input({"type": "http.disconnect"})
        await stream.wait(5)

    run(life())


def test_the_door_has_places_for_many_addresses_and_few_for_one() -> None:
    door = events.Door(each=2, together=3)
    assert [door.enter("a"), door.enter("a"), door.enter("a"), door.enter("b")] == [
        True,
        True,
        False,
        True,
    ]
    assert not door.enter("c")
    door.leave("a")
    assert door.enter("c")
