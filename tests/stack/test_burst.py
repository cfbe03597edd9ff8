"""Many sign-ups at once on a real Stoa: none fails, each is live in its turn, whoever is killed meanwhile."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.stoa import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]

BOUND_SECONDS = 240.0


@pytest.fixture
def burst(stack: Stack, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Names for as many shops as the test asks for; removed again afterwards."""
    slugs = [f"burst-{request.param}-{number}" for number in range(request.param)]
    yield slugs
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda slug: stack.api.delete(f"/api/v1/tenants/{slug}"), slugs))
    deadline = time.monotonic() + BOUND_SECONDS
    while any(_state(stack, slug) not in {"removed", ""} for slug in slugs):
        assert time.monotonic() < deadline, "the shops are not gone"
        time.sleep(0.2)


def _state(stack: Stack, slug: str) -> str:
    answer = stack.api.get(f"/api/v1/tenants/{slug}")
    return str(answer.json().get("state", "")) if answer.status_code == httpx.codes.OK else ""


def _sign_up_all(stack: Stack, slugs: list[str]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(len(slugs)) as pool:
        return [answer["operation"] for answer in pool.map(stack.sign_up, slugs)]


def _ends(stack: Stack, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [stack.wait(one["id"], seconds=BOUND_SECONDS) for one in operations]


@pytest.mark.parametrize("burst", [40], indirect=True)
def test_of_forty_sign_ups_at_once_none_fails_and_each_has_its_turn(
    stack: Stack, burst: list[str]
) -> None:
    operations = _sign_up_all(stack, burst)
    waiting = stack.api.get(f"/api/v1/operations/{operations[-1]['id']}").json()
    ends = _ends(stack, operations)
    assert {end["state"] for end in ends} == {"succeeded"}
    assert max(end["attempts"] for end in ends) == 1  # nothing was tried in vain
    assert {stack.get(slug).status_code for slug in burst} == {200}
    if waiting["state"] == "pending":
        assert waiting["waiting"]["for"] == "a_slot"
        assert waiting["waiting"]["ahead"] >= 0
    order = sorted(ends, key=lambda end: datetime.fromisoformat(end["created_at"]))
    begun = [datetime.fromisoformat(end["started_at"]) for end in order]
    # Whoever is behind in the line is taken after those in front, but for who was taken at one moment.
    jumped = [sum(later < one for later in begun[at + 1 :]) for at, one in enumerate(begun)]
    assert max(jumped) <= 8


@pytest.mark.long
@pytest.mark.parametrize("burst", [24], indirect=True)
def test_a_worker_killed_in_a_burst_takes_nobodys_turn_away(stack: Stack, burst: list[str]) -> None:
    operations = _sign_up_all(stack, burst)
    for _ in range(2):
        time.sleep(1.0)
        stack.kill("control")
    ends = _ends(stack, operations)
    assert {end["state"] for end in ends} == {"succeeded"}
    assert {stack.get(slug).status_code for slug in burst} == {200}
