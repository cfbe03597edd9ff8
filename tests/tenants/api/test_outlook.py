"""What the scheduler knows, for operators' programs: the forecast, and decisions about a shop."""

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants.placement.models import Decision
from tenants.usage.models import PoolDay
from tests.factories import MIB, make_host, make_shop
from tests.tenants.api.conftest import Program


def _day(ago: int, **fields: object) -> PoolDay:
    wanted: dict[str, object] = {
        "day": date(2026, 11, 24) - timedelta(days=ago),
        "hosts": 3,
        "open_hosts": 3,
        "instances": 100,
        "offered_cpu_millis": 1000,
        "offered_memory_bytes": 1000,
        "offered_disk_bytes": 1000,
        "booked_cpu_millis": 250,
        "booked_memory_bytes": 500,
        "booked_disk_bytes": 100,
        "hosts_needed": 2,
        "hosts_in_30_days": 4,
        "scarcest": "memory",
    }
    return PoolDay.objects.create(**(wanted | fields))


def test_the_forecast_tells_hosts_now_and_in_a_month(operator: Program) -> None:
    make_host(booked_memory_bytes=64 * MIB)
    _day(1, hosts_needed=1)
    _day(0)
    found = operator.get("pool/forecast").json()
    assert (found["hosts_needed"], found["hosts_in_30_days"], found["scarcest"]) == (2, 4, "memory")
    assert (found["hosts"], found["open_hosts"]) == (1, 0)
    assert found["memory_bytes"]["booked"] == 64 * MIB
    assert [(day["day"], day["memory_share"]) for day in found["days"]] == [
        ("2026-11-23", 0.5),
        ("2026-11-24", 0.5),
    ]


def test_an_empty_pool_has_no_forecast_yet(operator: Program) -> None:
    found = operator.get("pool/forecast").json()
    assert (found["hosts"], found["hosts_needed"], found["at"], found["days"]) == (
        0,
        None,
        None,
        [],
    )


def test_decisions_come_newest_first_with_their_reasons(operator: Program) -> None:
    instance = make_shop("acme").operation.instance
    make_shop("other")
    for outcome in ("unseen", "no_room", "placed"):
        Decision.objects.create(
            instance=instance,
            outcome=outcome,
            host_name="one" if outcome == "placed" else "",
            reasons=[f"because {outcome}", "two: is cordoned"],
        )
    found = operator.get("tenants/acme/decisions").json()["results"]
    assert [one["outcome"] for one in found] == ["placed", "no_room", "unseen"]
    assert (found[0]["host"], found[0]["instance"]) == ("one", instance.public_id)
    assert found[1]["reasons"] == ["because no_room", "two: is cordoned"]
    first = operator.get("tenants/acme/decisions?page_size=2").json()
    second = operator.get(first["next"].partition("testserver")[2]).json()
    assert [one["outcome"] for one in second["results"]] == ["unseen"]
    assert operator.get("tenants/other/decisions").json()["results"] == []


def test_as_many_queries_for_many_decisions_as_for_one(operator: Program) -> None:
    instance = make_shop("acme").operation.instance

    def asked() -> int:
        Decision.objects.create(instance=instance, outcome="no_room", reasons=[])
        with CaptureQueriesContext(connection) as queries:
            assert operator.get("tenants/acme/decisions").status_code == 200
        return len(queries)

    asked()  # the token's use is noted once a minute
    first = asked()
    assert {asked() for _ in range(4)} == {first}


@pytest.mark.parametrize("path", ["pool/forecast", "tenants/acme/decisions"])
def test_they_are_for_operators(
    alices: Program, operator: Program, nobody: Program, path: str
) -> None:
    make_shop("acme")
    assert alices.get(path).status_code == 403
    assert nobody.get(path).status_code == 401
    assert operator.get(path).status_code == 200


def test_a_shop_that_is_not_there_is_said(operator: Program) -> None:
    assert operator.get("tenants/nowhere/decisions").status_code == 404
