"""What befell a shop, for programs: latest first, page by page, by kind, and nobody else's."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.accounts.models import Member
from tenants.activity.models import InstanceEvent
from tenants.states import EventKind
from tests.factories import make_shop
from tests.tenants.api.conftest import Program


@pytest.fixture
def crashed(alice: Member) -> list[InstanceEvent]:
    """Alice's shop `acme` crashed, ran out of memory five times, and is full; bob's shop as well."""
    other = make_shop("other").operation
    InstanceEvent.objects.create(tenant=other.tenant, instance=other.instance, kind="exited")
    operation = make_shop("acme", member=alice).operation
    now = timezone.now()
    return [
        InstanceEvent.objects.create(
            tenant=operation.tenant,
            instance=operation.instance,
            kind=kind,
            count=number + 1,
            first_at=now - timedelta(hours=9),
            last_at=now - timedelta(hours=number),
            ended_at=None if number == 0 else now,
            details={"exit_code": 1, "last_lines": ["no"]} if kind == EventKind.EXITED else {},
        )
        for number, kind in enumerate([EventKind.DISK_OVER, EventKind.EXITED, EventKind.OOM_KILLED])
    ]


def test_events_come_latest_first_with_what_is_known(
    alices: Program, crashed: list[InstanceEvent]
) -> None:
    found = alices.get("tenants/acme/events").json()["results"]
    assert [one["kind"] for one in found] == ["disk_over", "exited", "oom_killed"]
    assert found[1]["details"] == {"exit_code": 1, "last_lines": ["no"]}
    assert (found[0]["ended_at"], found[2]["count"]) == (None, 3)
    assert found[0]["advice"].startswith("Your shop's storage is full")
    assert found[1]["instance"] == crashed[1].instance.public_id


def test_events_are_told_in_the_reader_s_language(
    alices: Program, crashed: list[InstanceEvent]
) -> None:
    found = alices.get("tenants/acme/events", **{"Accept-Language": "ja"}).json()["results"]
    assert found[2]["label"] == "メモリ不足になりました"


def test_pages_of_events_hold_each_once(alices: Program, crashed: list[InstanceEvent]) -> None:
    first = alices.get("tenants/acme/events?page_size=2").json()
    second = alices.get(first["next"].partition("testserver")[2]).json()
    assert [one["id"] for one in first["results"] + second["results"]] == [
        row.pk for row in crashed
    ]
    assert second["next"] is None


def test_events_of_one_kind(alices: Program, crashed: list[InstanceEvent]) -> None:
    found = alices.get("tenants/acme/events?kind=oom_killed").json()["results"]
    assert [one["kind"] for one in found] == ["oom_killed"]
    refused = alices.get("tenants/acme/events?kind=sad")
    assert refused.status_code == 400
    assert "it must be one of exited" in refused.json()["errors"][0]["message"]


def test_a_shop_that_nothing_befell_has_an_empty_list(alices: Program, alice: Member) -> None:
    make_shop("calm", member=alice)
    assert alices.get("tenants/calm/events").json()["results"] == []


def test_an_operator_s_program_sees_every_shop_s_and_another_merchant_s_none(
    operator: Program, bobs: Program, crashed: list[InstanceEvent]
) -> None:
    assert len(operator.get("tenants/other/events").json()["results"]) == 1
    assert bobs.get("tenants/acme/events").status_code == 404


def test_many_events_take_as_many_queries_as_few(
    alices: Program, crashed: list[InstanceEvent]
) -> None:
    alices.get("tenants/acme/events")  # the first use of a token is written down
    counts = []
    for size in (1, 3):
        with CaptureQueriesContext(connection) as queries:
            alices.get(f"tenants/acme/events?page_size={size}")
        counts.append(len(queries))
    assert counts[0] == counts[1]
