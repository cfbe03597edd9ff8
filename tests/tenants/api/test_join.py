"""The depot's end of a join: a token in, terms out, and no secret on the way back."""

import time
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from tenants.accounts import tokens
from tenants.placement.models import Placement
from tenants.pool import joins
from tenants.pool.models import Host, JoinToken
from tests.factories import MIB, make_catalogue, make_shop

pytestmark = [pytest.mark.django_db, pytest.mark.urls("controlplane.depot.urls")]
HOST_TOKEN = "the token that the machine made itself"


def wish(**changes: Any) -> dict[str, Any]:
    _, _, key_id, secret = joins.create(created_by="olga", ca_sha256="c" * 64).text.split(".")
    amounts = {"cpu_millis": 2000, "memory_bytes": 4096 * MIB, "disk_bytes": 8192 * MIB}
    return {
        "key_id": key_id,
        "secret": secret,
        "machine_key": "m" * 43,
        "name": "two",
        "address": "10.0.0.2",
        "first_port": 10000,
        "last_port": 20000,
        "capacity": amounts,
        "reserve": {kind: value // 10 for kind, value in amounts.items()},
        "broker_sha256": "a" * 64,
        "token_sha256": tokens.sha256(HOST_TOKEN),
        "clock": time.time(),
    } | changes


def post(client: Client, path: str, body: dict[str, Any], **headers: str) -> Any:
    return client.post(
        f"/internal/v1/{path}", body, content_type="application/json", headers=headers
    )


def as_host(token: str = HOST_TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_machine_gets_in_and_is_told_what_it_needs(client: Client) -> None:
    make_catalogue()
    answer = post(client, "join", wish())
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["host"], told["epoch"]) == ("two", 1)
    assert told["images"] == [{"digest": "sha256:" + "1" * 64, "source": ""}]
    assert Host.objects.get().address == "10.0.0.2"


def test_a_look_uses_nothing_up(client: Client) -> None:
    answer = post(client, "join", wish(only_check=True))
    assert (answer.status_code, "host" in answer.json()) == (200, False)
    assert not Host.objects.exists()
    assert JoinToken.objects.get().used_at is None


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"secret": "0" * 38}, 403, "unknown"),
        ({"clock": time.time() - 4000}, 400, "clock is"),
        ({"name": "Not A Name"}, 400, "name is"),
        ({"first_port": 0}, 400, "first_port"),
        ({"machine_key": "short"}, 400, "machine_key"),
        ({"capacity": {}}, 400, "cpu_millis"),
    ],
)
def test_a_refusal_is_a_problem_with_a_sentence(
    client: Client, changes: dict[str, Any], status: int, words: str
) -> None:
    answer = post(client, "join", wish(**changes))
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]
    assert not Host.objects.exists()


def test_what_came_through_a_proxy_finds_nothing(client: Client) -> None:
    assert post(client, "join", wish(), **{"X-Forwarded-For": "198.51.100.7"}).status_code == 404


def test_a_host_sees_itself_and_no_other(client: Client) -> None:
    post(client, "join", wish())
    seen = client.get("/internal/v1/hosts/two", headers=as_host())
    assert (seen.status_code, seen.json()["is_heard"]) == (200, False)
    assert client.get("/internal/v1/hosts/two", headers=as_host("other")).status_code == 401
    assert client.get("/internal/v1/hosts/one", headers=as_host()).status_code == 401


def test_a_host_leaves_when_it_holds_nothing(client: Client) -> None:
    post(client, "join", wish())
    Placement.objects.create(
        instance=make_shop().operation.instance,
        host=Host.objects.get(),
        port=10000,
        cpu_millis=10,
        memory_bytes=9 * MIB,
        disk_bytes=16 * MIB,
    )
    refused = post(client, "hosts/two/leave", {}, **as_host())
    assert (refused.status_code, "holds 1 shop" in refused.json()["detail"]) == (409, True)
    Placement.objects.update(until=Now())
    assert post(client, "hosts/two/leave", {}, **as_host()).status_code == 200
    assert not Host.objects.exists()
    # A repeat whose answer was lost: it is not known any more, which says the same.
    assert post(client, "hosts/two/leave", {}, **as_host()).status_code == 401


def test_nobody_leaves_for_another(client: Client) -> None:
    post(client, "join", wish())
    assert post(client, "hosts/two/leave", {}, **as_host("other")).status_code == 401
    assert Host.objects.exists()


@pytest.mark.urls("controlplane.urls")
def test_the_web_takes_no_joins(client: Client) -> None:
    assert post(client, "join", wish()).status_code == 404
