"""What befell shops, on the merchant's page and on the operator's."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.accounts.models import Member
from tenants.activity.models import InstanceEvent
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Tenant
from tenants.states import EventKind, TenantState
from tenants.usage import usage_queries
from tenants.usage.models import HostUsage
from tests.pages.conftest import Cast, make_shop, tenant_of

Browser = Callable[[Member | None], Client]
LINES = ["Traceback (most recent call last):", "MemoryError: <b>no</b>"]
MIB = 1024 * 1024


def befall(slug: str, kind: EventKind, **fields: object) -> InstanceEvent:
    """An event of the shop of that name."""
    tenant = tenant_of(slug)
    return InstanceEvent.objects.create(
        tenant=tenant, instance=tenant.instances.get(), kind=kind, **fields
    )


@pytest.fixture
def acme(cast: Cast) -> Tenant:
    """Alice's live shop, placed on the host."""
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    Placement.objects.create(
        instance=operation.instance,
        host=Host.objects.get(),
        port=10001,
        cpu_millis=1,
        memory_bytes=1,
        disk_bytes=1,
    )
    return tenant_of("acme")


def text(client: Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_merchant_reads_what_happened_why_and_what_to_do(
    cast: Cast, page: Browser, acme: Tenant
) -> None:
    details = {"exit_code": 137, "last_lines": LINES}
    befall("acme", EventKind.EXITED, count=3, details=details)
    befall("acme", EventKind.OOM_KILLED, count=1)
    shown = text(page(cast.alice), "/shops/acme/")
    for words in ("Ran out of memory", "Stopped by itself", "3 times", "exit code", "137"):
        assert words in shown
    assert "Your plan gives" in shown
    assert "MemoryError: &lt;b&gt;no&lt;/b&gt;" in shown, "what a program logs is never markup"
    japanese = text(page(cast.alice), "/shops/acme/", **{"Accept-Language": "ja"})
    assert "メモリ不足になりました" in japanese


def test_what_lasted_and_is_over_is_told_without_advice(
    cast: Cast, page: Browser, acme: Tenant
) -> None:
    befall("acme", EventKind.DISK_OVER, ended_at=timezone.now())
    befall("acme", EventKind.THROTTLED, details={"percent": 41})
    shown = text(page(cast.alice), "/shops/acme/")
    assert "Out of space" in shown
    assert "Delete what you no longer need" not in shown
    assert "Your plan gives 1 core; the plan “Plus” gives 2 cores." in shown
    assert "held back 41 % of the time" in shown


def test_a_calm_shop_says_so(cast: Cast, page: Browser, acme: Tenant) -> None:
    shown = text(page(cast.alice), "/shops/acme/")
    assert "Nothing unusual has happened" in shown
    assert "first figures come a few minutes" in shown


def test_another_merchant_s_events_are_not_shown(cast: Cast, page: Browser, acme: Tenant) -> None:
    make_shop(cast.bob, "bobs", state=TenantState.LIVE)
    befall("acme", EventKind.CRASH_LOOP, details={"last_lines": ["alices secret"]})
    assert "alices secret" not in text(page(cast.bob), "/shops/bobs/")
    assert page(cast.bob).get("/shops/acme/").status_code == 404
    assert page(cast.bob).get("/operator/events/").status_code == 404


def test_what_a_shop_uses_stands_beside_what_its_plan_gives(
    cast: Cast, page: Browser, acme: Tenant
) -> None:
    ship(acme, minutes_ago=5, cpu_nanos=10**9, tx_bytes=0)
    ship(acme, minutes_ago=0, cpu_nanos=31 * 10**9, tx_bytes=3 * MIB)
    found = usage_queries.of(acme)
    assert found is not None
    assert (found.cpu_millis, found.tx_bytes, found.memory_bytes) == (100, 3 * MIB, 12 * MIB)
    shown = text(page(cast.alice), "/shops/acme/")
    for words in ("12 MiB", "3 MiB", "0.1"):
        assert words in shown


def test_a_container_that_began_anew_has_no_average_yet(acme: Tenant) -> None:
    ship(acme, minutes_ago=5, cpu_nanos=10**12)
    ship(acme, minutes_ago=0, cpu_nanos=5)
    found = usage_queries.of(acme)
    assert found is not None
    assert (found.cpu_millis, found.rx_bytes, found.memory_bytes) == (None, None, 12 * MIB)


def test_an_operator_filters_events_and_pages_through_them(
    cast: Cast, page: Browser, acme: Tenant
) -> None:
    now = timezone.now()
    for number in range(60):
        befall("acme", EventKind.EXITED, ended_at=now, last_at=now - timedelta(minutes=number))
    befall("acme", EventKind.DISK_OVER)
    first = page(cast.olga).get("/operator/events/")
    assert len(first.context["page"].rows) == 50
    second = page(cast.olga).get("/operator/events/?" + first.context["more"])
    assert len(second.context["page"].rows) == 11
    assert second.context["more"] == ""
    only = page(cast.olga).get("/operator/events/?kind=disk_over&open=yes")
    assert [row.kind for row in only.context["page"].rows] == ["disk_over"]
    none = text(page(cast.olga), "/operator/events/?kind=throttled")
    assert "No event of a shop" in none


@pytest.mark.parametrize("path", ["/operator/", "/operator/events/", "/operator/hosts/local/"])
def test_events_stand_on_the_operator_s_pages_in_as_many_queries_for_many(
    cast: Cast, page: Browser, acme: Tenant, path: str
) -> None:
    client = page(cast.olga)
    befall("acme", EventKind.OOM_KILLED)
    assert "Ran out of memory" in text(client, path)
    with CaptureQueriesContext(connection) as few:
        client.get(path)
    for _ in range(5):
        befall("acme", EventKind.EXITED, ended_at=timezone.now())
    with CaptureQueriesContext(connection) as many:
        client.get(path)
    assert len(few) == len(many)


def test_an_operator_reads_a_tenant_s_events_with_the_log(
    cast: Cast, page: Browser, acme: Tenant
) -> None:
    befall("acme", EventKind.CRASH_LOOP, details={"exit_code": 2, "last_lines": LINES})
    shown = text(page(cast.olga), f"/operator/tenants/{acme.public_id}/")
    assert "Keeps stopping" in shown
    assert "MemoryError" in shown
    assert "your shop" not in shown, "advice is for merchants"


def ship(tenant: Tenant, *, minutes_ago: int, **fields: int) -> None:
    """A usage row of the shop's host with a sample of the shop and one of a neighbour."""
    sample = {
        "instance_id": tenant.instances.get().public_id,
        "cpu_nanos": 0, "memory_bytes": 12 * MIB, "disk_bytes": 5 * MIB, "rx_bytes": 0, "tx_bytes": 0,
    }  # fmt: skip
    neighbour = {"instance_id": "ins_neighbour", "memory_bytes": 999}
    HostUsage.objects.create(
        host=Host.objects.get(),
        at=timezone.now() - timedelta(minutes=minutes_ago),
        samples=[neighbour, sample | fields],
    )
