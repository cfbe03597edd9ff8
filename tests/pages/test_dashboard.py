"""The operator's pages: what they find, what they cost, and what they change."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.accounts.models import Member
from tenants.core.alarm_kinds import DISK_FULL, UNOWNED
from tenants.core.models import Alarm, FreezeSwitch
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import overview
from tenants.pool.models import Host, HostReport
from tenants.shops import directory
from tenants.shops.models import Tenant
from tenants.states import OperationState, TenantState
from tests.pages.conftest import Cast, make_host, make_shop

Browser = Callable[[Member | None], Client]


def queries_of(client: Client, path: str) -> int:
    """How many queries one answer takes."""
    with CaptureQueriesContext(connection) as seen:
        assert client.get(path).status_code == 200
    return len(seen)


def place(slug: str, port: int) -> None:
    """Put the shop on the host `local`."""
    instance = Tenant.objects.get(slug=slug).instances.get()
    Placement.objects.create(
        instance=instance,
        host=Host.objects.get(name="local"),
        port=port,
        cpu_millis=20,
        memory_bytes=1024**2,
        disk_bytes=1024**2,
        reasons=["most room: 0.83"],
    )


@pytest.mark.parametrize(
    "path", ["/operator/", "/operator/tenants/", "/operator/operations/", "/operator/hosts/local/"]
)
def test_pages_cost_the_same_for_few_rows_and_for_many(
    page: Browser, cast: Cast, path: str
) -> None:
    client = page(cast.olga)
    for number in range(2):
        make_shop(cast.alice, f"few-{number}")
        place(f"few-{number}", 10000 + number)
    few = queries_of(client, path)
    for number in range(10):
        make_shop(cast.bob, f"many-{number}")
        place(f"many-{number}", 10100 + number)
        make_host(f"host-{number}")
    assert queries_of(client, path) == few
    assert few <= 14


def test_the_tenants_page_never_counts(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme")
    with CaptureQueriesContext(connection) as seen:
        page(cast.olga).get("/operator/tenants/?q=acme&state=requested")
    assert not [query for query in seen if "COUNT(" in query["sql"].upper()]


def test_pages_of_tenants_follow_each_other_without_gap_or_repeat(cast: Cast) -> None:
    for number in range(7):
        make_shop(cast.alice, f"shop-{number}")
    # The same moment for several: the id decides.
    Tenant.objects.filter(slug__in=["shop-2", "shop-3", "shop-4"]).update(created_at=timezone.now())
    seen: list[str] = []
    key = ""
    while True:
        found = directory.tenants(after=key, size=2)
        seen += [row.slug for row in found.rows]
        key = found.next_key
        if not key:
            break
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    "key", ["x", "1.", ".1", "9" * 60 + ".1", "99999999999999999999.1", "-1.2"]
)
def test_a_key_that_cannot_be_read_starts_anew(page: Browser, cast: Cast, key: str) -> None:
    make_shop(cast.alice, "acme")
    body = page(cast.olga).get("/operator/tenants/", {"after": key}).content.decode()
    assert "acme" in body


@pytest.mark.parametrize(
    ("search", "found"),
    [("ac", ["acme"]), ("ALICE@", ["acme"]), ("bob", ["bobs"]), ("cme", []), ("%", [])],
)
def test_tenants_are_found_by_the_beginning_of_address_or_owner(
    cast: Cast, search: str, found: list[str]
) -> None:
    make_shop(cast.alice, "acme")
    make_shop(cast.bob, "bobs")
    assert [row.slug for row in directory.tenants(search=search).rows] == found


def test_tenants_are_filtered_by_state(cast: Cast) -> None:
    make_shop(cast.alice, "running", state=TenantState.LIVE)
    make_shop(cast.alice, "waiting")
    found = directory.tenants(state=TenantState.LIVE)
    assert [row.slug for row in found.rows] == ["running"]


def test_a_host_that_stopped_reporting_is_shown_as_unreachable(page: Browser, cast: Cast) -> None:
    HostReport.objects.update(seen_at=timezone.now() - timedelta(seconds=60))
    body = page(cast.olga).get("/operator/").content.decode()
    assert "unreachable" in body
    assert "1 min" in body


def test_figures_count_what_an_operator_looks_for(cast: Cast) -> None:
    make_shop(cast.alice, "running", state=TenantState.LIVE)
    make_shop(cast.alice, "broken", state=TenantState.FAILED)
    make_shop(cast.alice, "waiting")
    figures = overview.figures(timezone.now())
    assert (figures.live, figures.failed, figures.requested) == (1, 1, 1)
    assert (figures.open_operations, figures.failed_in_24_h) == (1, 1)
    assert figures.sign_ups_in_24_h == 3
    assert figures.oldest_open_at is not None


def test_who_waits_in_line_is_told_with_the_first(page: Browser, cast: Cast) -> None:
    assert "in line to start" not in page(cast.olga).get("/operator/").content.decode()
    make_shop(cast.alice, "first")
    make_shop(cast.bob, "second")
    waiting = Operation.objects.filter(state=OperationState.PENDING)
    assert waiting.update(is_in_line=True) == 2
    first = waiting.order_by("pk")[:1].values("pk")
    waiting.filter(pk__in=first).update(queued_at=timezone.now() - timedelta(minutes=3, seconds=5))
    body = page(cast.olga).get("/operator/").content.decode()
    assert "2 in line to start" in body
    assert "the first came" in body
    assert "3 min" in body


def test_an_alarm_is_the_first_thing_said(page: Browser, cast: Cast) -> None:
    Alarm.objects.create(key="reconcile.local", message="7 of 9 instances would be stopped")
    Alarm.objects.create(key="reconcile.old", message="gone", cleared_at=timezone.now())
    Alarm.objects.create(key="moon.full", message="of another version")
    body = page(cast.olga).get("/operator/").content.decode()
    assert "7 of 9 instances would be stopped" in body
    assert str(UNOWNED.title) in body
    assert str(UNOWNED.remedy) in body
    assert "of another version" in body
    assert "gone" not in body


def test_a_hosts_page_has_the_alarms_about_it_alone(page: Browser, cast: Cast) -> None:
    Alarm.objects.create(key=DISK_FULL.key("local", 0), message="the store is full")
    Alarm.objects.create(key=DISK_FULL.key("local-2", 0), message="another is full")
    Alarm.objects.create(key="pool_full.local.local", message="no room")
    body = page(cast.olga).get("/operator/hosts/local/").content.decode()
    assert "the store is full" in body
    assert str(DISK_FULL.remedy) in body
    assert "another is full" not in body
    assert "no room" not in body


def test_freezing_needs_a_reason_and_is_undone_without_one(page: Browser, cast: Cast) -> None:
    client = page(cast.olga)
    path = "/operator/switches/placements/"
    assert client.post(path, {"is_on": "yes", "reason": " "}).status_code == 400
    assert overview.takes_new_shops()
    client.post(path, {"is_on": "yes", "reason": "disk being replaced"})
    switch = FreezeSwitch.objects.get(name="placements")
    assert (switch.is_on, switch.changed_by) == (True, "olga@example.com")
    assert "disk being replaced" in client.get("/operator/").content.decode()
    client.post(path, {"is_on": "no"})
    assert overview.takes_new_shops()


def test_an_unknown_switch_does_not_exist(page: Browser, cast: Cast) -> None:
    assert page(cast.olga).get("/operator/switches/gravity/").status_code == 404


def test_an_operator_may_try_again_for_a_merchant(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.FAILED)
    path = f"/operator/operations/{operation.public_id}/"
    assert "as an operator reads it" in page(cast.olga).get(path).content.decode()
    page(cast.olga).post(f"{path}retry/")
    operation.refresh_from_db()
    assert operation.state == OperationState.PENDING


def test_a_tenants_page_says_where_it_is_and_why(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    place("acme", 10007)
    path = f"/operator/tenants/{operation.tenant.public_id}/"
    body = page(cast.olga).get(path).content.decode()
    assert ":10007" in body
    assert "most room: 0.83" in body
    assert "requested → live" in body


def test_a_fragment_is_asked_for_by_the_page_itself(page: Browser, cast: Cast) -> None:
    body = page(cast.olga).get("/operator/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in body
    assert "Hosts heard" in body


def test_the_back_button_gets_a_whole_page(page: Browser, cast: Cast) -> None:
    headers = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    body = page(cast.olga).get("/operator/tenants/", headers=headers).content.decode()
    assert "<html" in body


@pytest.mark.parametrize("path", ["/operator/", "/shops/"])
def test_a_page_whose_session_ended_is_reloaded_not_filled_with_the_login_page(
    page: Browser, path: str
) -> None:
    answer = page(None).get(path, headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Refresh"]) == (401, "true")


def test_a_lost_host_says_so_and_an_unreachable_one_can_be_declared_lost(
    page: Browser, cast: Cast
) -> None:
    host = make_host("far")
    HostReport.objects.filter(host=host).update(seen_at=timezone.now() - timedelta(minutes=5))
    Host.objects.filter(pk=host.pk).update(health="unreachable")
    body = page(cast.olga).get("/operator/hosts/far/").content.decode()
    assert "It does not answer" in body
    page(cast.olga).post("/operator/hosts/far/lost/", {"confirm": "near"})
    assert Host.objects.get(pk=host.pk).health == "unreachable"
    page(cast.olga).post("/operator/hosts/far/lost/", {"confirm": "far"})
    assert (Host.objects.get(pk=host.pk).health, Host.objects.get(pk=host.pk).epoch) == ("lost", 2)
    body = page(cast.olga).get("/operator/hosts/far/").content.decode()
    assert "It is lost" in body
    assert "How it answered" in body
