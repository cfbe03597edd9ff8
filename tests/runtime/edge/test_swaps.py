"""What a swap under a hold relies on: who is in flight, who is held, and where everybody goes after."""

import http.client
import threading
import time
from collections.abc import Callable

import pytest

from runtime.edge.routes import EdgeRoute
from runtime.errors import SpecInvalidError
from tests.runtime.edge.conftest import Answer, Front, wait_for


def ask_beside(front: Front, *, body: bytes = b"") -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(front.get("acme.localhost", body=body)))
    thread.start()
    return thread, answers


def test_requests_in_flight_are_counted_by_address_and_held_ones_are_not(front: Front) -> None:
    old, new = front.shop("old", delay_seconds=0.6), front.shop("new")
    value = old.value("acme")
    front.edge.apply([EdgeRoute("acme.localhost", value, 1, 1)])
    assert front.edge.in_flight([value]) == {value: 0}
    slow = [ask_beside(front) for _ in range(3)]
    wait_for(lambda: front.edge.in_flight([value]) == {value: 3})
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 2, 2)])
    held = [ask_beside(front) for _ in range(5)]
    wait_for(lambda: front.hold.held == 5)
    assert front.edge.in_flight([value]) == {value: 3}
    wait_for(lambda: front.edge.in_flight([value]) == {value: 0}, seconds=2)
    assert front.hold.held == 5
    front.edge.apply([EdgeRoute("acme.localhost", new.value("acme"), 3, 3)])
    for thread, _ in slow + held:
        thread.join(5)
    assert [a[0].json()["shop"] for _, a in slow] == ["old"] * 3
    assert [a[0].json()["shop"] for _, a in held] == ["new"] * 5


def test_a_value_that_is_none_is_refused_before_haproxy_hears_of_it(front: Front) -> None:
    with pytest.raises(SpecInvalidError, match="value"):
        front.edge.in_flight(["acme@127.0.0.1:1;clear table serving"])


def test_a_kept_connection_does_not_go_on_to_the_old_address_after_a_hold(front: Front) -> None:
    old, new = front.shop("old"), front.shop("new")
    front.edge.apply([EdgeRoute("acme.localhost", old.value("acme"), 1, 1)])
    wires = [http.client.HTTPConnection("127.0.0.1", front.config.http_port) for _ in range(4)]
    for wire in wires:
        assert b'"old"' in asked(wire)
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 2, 2)])
    served = old.served
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda wire=wire: answers.append(asked(wire))) for wire in wires
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: front.hold.held == 4)
    front.edge.apply([EdgeRoute("acme.localhost", new.value("acme"), 3, 3)])
    for thread in threads:
        thread.join(5)
    assert old.served == served
    assert all(b'"new"' in answer for answer in answers)
    assert len(answers) == 4


def asked(wire: http.client.HTTPConnection) -> bytes:
    wire.request("GET", "/", headers={"Host": "acme.localhost"})
    return wire.getresponse().read()


def test_a_held_request_goes_on_with_the_new_route(front: Front) -> None:
    shop = front.shop("acme")
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])
    thread, answers = ask_beside(front, body=b"x" * 100_000)
    wait_for(lambda: front.hold.held == 1)
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 2, 2)])
    thread.join(10)
    assert not thread.is_alive(), "it would be held for 15 s"
    assert answers[0].json()["bytes"] == 100_000


def test_many_swaps_under_load_lose_no_request_and_reach_no_container_that_has_ended(
    make_front: Callable[..., Front],
) -> None:
    front = make_front()
    front.start()
    front.edge.apply([EdgeRoute("acme.localhost", (now := front.shop("0")).value("acme"), 1, 1)])
    statuses: list[int] = []
    stopping = threading.Event()

    def visit() -> None:
        while not stopping.is_set():
            statuses.append(front.get("acme.localhost", body=b"order").status)

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for number in range(1, 9):
        front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 2 * number, 2 * number)])
        value = now.value("acme")
        wait_for(lambda value=value: front.edge.in_flight([value]) == {value: 0})  # type: ignore[misc]
        now.close()
        front.shops.remove(now)
        now = front.shop(str(number))
        front.edge.apply(
            [EdgeRoute("acme.localhost", now.value("acme"), 2 * number + 1, 2 * number + 1)]
        )
        time.sleep(0.05)
    stopping.set()
    for visitor in visitors:
        visitor.join(5)
    assert set(statuses) == {200}
    assert len(statuses) > 100
