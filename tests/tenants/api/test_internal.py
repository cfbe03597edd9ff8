"""The route table is for the edge whose token comes along, and for nobody who came through a proxy."""

import json
import time
from collections.abc import Mapping

import pytest
from django.db import connection
from django.test import Client

from tenants.placement import routes
from tests.factories import make_edge, make_shop

pytestmark = pytest.mark.urls("controlplane.depot.urls")
PATH = "/internal/v1/edges/one/routes"
TOKEN = {"Authorization": "Bearer edge-token"}


@pytest.mark.django_db
def test_an_edge_gets_the_whole_table(client: Client) -> None:
    make_edge()
    change = routes.to_hold(make_shop().tenant)
    answer = client.get(PATH, headers=TOKEN)
    assert answer.status_code == 200
    table = json.loads(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    assert table["routes"] == [["acme.localhost", "acme@hold", change.sequence]]
    assert table["sequence"] == change.sequence


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (PATH, {}, 401),
        (PATH, {"Authorization": "Bearer other"}, 401),
        (PATH, {"Authorization": "Basic edge-token"}, 401),
        ("/internal/v1/edges/two/routes", TOKEN, 401),
        ("/internal/v1/edges/none/routes", TOKEN, 401),
        (PATH, TOKEN | {"X-Forwarded-For": "198.51.100.7"}, 404),
        (PATH, TOKEN | {"Forwarded": "for=198.51.100.7"}, 404),
    ],
)
def test_nobody_else_gets_anything(
    client: Client, path: str, headers: Mapping[str, str], status: int
) -> None:
    make_edge()
    make_edge("two", token="another")
    assert client.get(path, headers=headers).status_code == status


@pytest.mark.slow
@pytest.mark.django_db
def test_two_hundred_thousand_routes_go_out_in_seconds(client: Client) -> None:
    make_edge()
    tenant = make_shop().tenant
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenants_route (hostname, tenant_id, value, sequence) "
            "SELECT 's' || n || '.localhost', %s, 's' || n || '@100.96.0.1:10000', n "
            "FROM generate_series(1, 200000) AS n",
            [tenant.pk],
        )
    started = time.perf_counter()
    body = b"".join(client.get(PATH, headers=TOKEN).streaming_content)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started
    assert len(json.loads(body)["routes"]) == 200000
    assert seconds < 10


@pytest.mark.django_db
@pytest.mark.urls("controlplane.urls")
def test_the_web_serves_none_of_it(client: Client) -> None:
    make_edge()
    assert client.get(PATH, headers=TOKEN).status_code == 404
