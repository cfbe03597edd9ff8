"""The pages about room: how full the pool is, where it goes, why a shop is where it is, what would move."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.accounts.models import Member
from tenants.placement.models import Decision, Placement
from tenants.pool.models import Host, HostReport
from tenants.shops.models import Tenant
from tenants.transfers import rebalances
from tenants.transfers.models import RebalancePlan
from tenants.usage.models import PoolDay
from tests.pages.conftest import GIB, Cast, make_host, make_shop
from workers.pool import reader

Browser = Callable[[Member | None], Client]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_kept", None)


def make_days(count: int, *, needed: int = 2, later: int | None = 5) -> None:
    today = timezone.now().date()
    for ago in range(count):
        PoolDay.objects.create(
            day=today - timedelta(days=ago),
            hosts=3,
            open_hosts=3,
            instances=200 - ago,
            offered_cpu_millis=10_000,
            offered_memory_bytes=10 * GIB,
            offered_disk_bytes=100 * GIB,
            booked_cpu_millis=6_000 - 100 * ago,
            booked_memory_bytes=8 * GIB - ago * GIB // 10,
            booked_disk_bytes=20 * GIB,
            hosts_needed=needed,
            hosts_in_30_days=later,
            scarcest="memory",
        )


def text_of(client: Client, path: str, language: str = "en") -> str:
    response = client.get(path, headers={"accept-language": language})
    assert response.status_code == 200
    return response.content.decode()


def test_it_says_how_many_hosts_are_needed_now_and_in_a_month(page: Browser, cast: Cast) -> None:
    make_days(8)
    text = text_of(page(cast.olga), "/operator/room/")
    assert "Hosts needed in 30 days" in text
    assert "2 hosts to be added by then" in text
    assert "1 host to spare" in text
    assert text.count("<polyline") == 3
    assert "Hosts needed" in text_of(page(cast.olga), "/operator/")


def test_a_young_pool_says_that_nothing_is_known_yet(page: Browser, cast: Cast) -> None:
    text = text_of(page(cast.olga), "/operator/room/")
    assert "known after five days" in text
    assert "<polyline" not in text
    assert "No plan yet" in text


def test_it_speaks_japanese(page: Browser, cast: Cast) -> None:
    make_days(8)
    text = text_of(page(cast.olga), "/operator/room/", "ja")
    assert "30 日後に必要なホスト" in text
    for english in ("Hosts needed", "Rebalancing", "Latest decisions", "Propose only", "Scarcest"):
        assert english not in text


def test_decisions_tell_no_room_from_not_seen(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme")
    instance = Tenant.objects.get(slug="acme").instances.get()
    Decision.objects.create(instance=instance, outcome="no_room", reasons=["one: has no room", "b"])
    Decision.objects.create(instance=instance, outcome="unseen", reasons=["one: is silent"])
    client = page(cast.olga)
    text = text_of(client, "/operator/room/")
    assert "no room anywhere" in text
    assert "no host could be seen" in text
    assert "and 1 more reason" in text
    only = text_of(client, "/operator/room/?outcome=unseen")
    assert "no room anywhere" not in only
    tenant = Tenant.objects.get(slug="acme")
    assert "no host could be seen" in text_of(client, f"/operator/tenants/{tenant.public_id}/")


def test_every_host_says_why_it_would_or_would_not_take_the_shop(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme")
    tenant = Tenant.objects.get(slug="acme")
    make_host("roomy")
    shut = make_host("shut")
    Host.objects.filter(pk=shut.pk).update(state="cordoned")
    make_host("silent")
    HostReport.objects.filter(host__name="silent").update(
        seen_at=timezone.now() - timedelta(hours=1)
    )
    client = page(cast.olga)
    text = text_of(client, f"/operator/tenants/{tenant.public_id}/why/")
    assert "is cordoned" in text
    assert "has not reported in the last seconds" in text
    assert "would take it" in text
    only = text_of(client, f"/operator/tenants/{tenant.public_id}/why/?q=shut")
    assert "is cordoned" in only
    assert "roomy" not in only


def test_its_own_host_is_judged_without_it(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme")
    tenant = Tenant.objects.get(slug="acme")
    host = Host.objects.get(name="local")
    memory = host.capacity_memory_bytes - host.reserve_memory_bytes
    Placement.objects.create(
        instance=tenant.instances.get(),
        host=host,
        port=10000,
        cpu_millis=10,
        memory_bytes=memory,
        disk_bytes=1,
        reasons=[],
    )
    Host.objects.filter(pk=host.pk).update(
        booked_memory_bytes=memory, placed=1, load=[10.0] * 24 + [0.0] * 120
    )
    text = text_of(page(cast.olga), f"/operator/tenants/{tenant.public_id}/why/")
    assert "is on local" in text
    assert "is here" in text
    assert "has no room" not in text


def _plan(outcome: str = "") -> RebalancePlan:
    move = {
        "instance": "ins_1",
        "tenant": "acme",
        "source": "one",
        "target": "two",
        "reason": "one is expected at 120% of its limits; two takes it",
        "gain": 0.2,
        "outcome": outcome,
    }
    return RebalancePlan.objects.create(mode="propose", hosts=2, hot_hosts=1, moves=[move])


def test_proposed_moves_are_shown_and_asked_for_by_hand(page: Browser, cast: Cast) -> None:
    plan = _plan()
    client = page(cast.olga)
    text = text_of(client, "/operator/room/")
    assert "one is expected at 120% of its limits" in text
    assert "1 host too full" in text
    answer = client.post(f"/operator/room/plans/{plan.pk}/", follow=True)
    assert "0 moves asked for" in answer.content.decode()
    plan.refresh_from_db()
    assert plan.moves[0]["outcome"] == "gone"


def test_operators_say_how_far_it_may_go(page: Browser, cast: Cast) -> None:
    client = page(cast.olga)
    client.post("/operator/room/rebalancing/", {"mode": "on", "budget": "7"})
    setting = rebalances.setting()
    assert (setting.mode, setting.budget, setting.changed_by) == ("on", 7, cast.olga.email)
    answer = client.post(
        "/operator/room/rebalancing/", {"mode": "on", "budget": "many"}, follow=True
    )
    assert "it must be 1 to 200" in answer.content.decode()
    assert rebalances.setting().budget == 7


@pytest.mark.parametrize("path", ["/operator/room/", "/operator/tenants/{}/why/"])
def test_it_is_for_operators_only(page: Browser, cast: Cast, path: str) -> None:
    make_shop(cast.alice, "acme")
    address = path.format(Tenant.objects.get(slug="acme").public_id)
    assert page(cast.alice).get(address).status_code == 404
    assert page(None).get(address).status_code == 302
    assert page(cast.olga).get(address).status_code == 200
    assert page(cast.alice).post("/operator/room/rebalancing/").status_code == 404


def test_it_costs_the_same_for_few_and_for_many(page: Browser, cast: Cast) -> None:
    client = page(cast.olga)

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            text_of(client, "/operator/room/")
        return len(seen)

    make_days(2)
    _plan()
    few = queries()
    for number in range(8):
        make_shop(cast.bob, f"many-{number}")
        instance = Tenant.objects.get(slug=f"many-{number}").instances.get()
        Decision.objects.create(instance=instance, outcome="no_room", reasons=["x"])
        make_host(f"host-{number}")
        _plan("op_1")
    assert queries() <= few + 1
    assert few <= 9
