"""The page on which an operator empties a host."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import drains
from tenants.pool.models import Drain, Host
from tenants.shops.models import Instance, Tenant
from tenants.states import DrainState, HostState, InstanceState, OperationState, TenantState
from tenants.transfers import moves
from tests.pages.conftest import Cast, end, make_host, make_shop

Browser = Callable[[Member | None], Client]
PATH = "/operator/hosts/local/drain/"


def place(slug: str, port: int, *, memory_mib: int = 10) -> Instance:
    instance = Tenant.objects.get(slug=slug).instances.get()
    Instance.objects.filter(pk=instance.pk).update(state=InstanceState.RUNNING)
    Placement.objects.create(
        instance=instance,
        host=Host.objects.get(name="local"),
        port=port,
        cpu_millis=20,
        memory_bytes=memory_mib * 2**20,
        disk_bytes=2**20,
    )
    return Instance.objects.select_related("tenant").get(pk=instance.pk)


@pytest.fixture
def shops(cast: Cast) -> list[Instance]:
    for number in range(3):
        make_shop(cast.alice, f"shop-{number}", state=TenantState.LIVE)
    return [place(f"shop-{number}", 10_000 + number) for number in range(3)]


def test_it_says_whether_there_is_room_and_begins_on_request(
    page: Browser, cast: Cast, shops: list[Instance]
) -> None:
    make_host("other")
    client = page(cast.olga)
    assert "All 3 shops have room elsewhere" in client.get(PATH).content.decode()
    assert client.post(PATH, follow=True).status_code == 200
    drain = Drain.objects.get()
    assert (drain.total, drain.requested_by) == (3, cast.olga)
    assert Host.objects.get(name="local").state == HostState.DRAINING
    text = client.get(PATH).content.decode()
    assert "0 of 3 shops have left" in text
    assert 'aria-valuenow="0"' in text


def test_a_host_that_was_cordoned_says_that_it_stays_closed_when_it_is_called_off(
    page: Browser, cast: Cast, shops: list[Instance]
) -> None:
    make_host("other")
    client = page(cast.olga)
    Host.objects.filter(name="local").update(state=HostState.CORDONED)
    client.post(PATH, follow=True)
    assert "Stop, and keep it closed to new shops" in client.get(PATH).content.decode()
    told = client.post("/operator/hosts/local/undrain/", follow=True).content.decode()
    assert "It stays closed to new shops, as before." in told
    assert Host.objects.get(name="local").state == HostState.CORDONED


def test_without_room_the_numbers_are_shown_and_nothing_begins(
    page: Browser, cast: Cast, shops: list[Instance]
) -> None:
    client = page(cast.olga)
    text = client.get(PATH).content.decode()
    assert "Only 0 of 3 shops have room elsewhere" in text
    assert "Empty this host</button>" not in text
    told = client.post(PATH, follow=True).content.decode()
    assert "0 of the 3 shops on local have room" in told
    assert not Drain.objects.exists()


def test_who_is_on_the_way_and_who_could_not_leave_is_shown(
    page: Browser, cast: Cast, shops: list[Instance]
) -> None:
    make_host("other")
    drain = drains.request(Host.objects.get(name="local"))
    for instance in shops[:2]:
        moves.request(instance, to_host=None, reason="test", drain=drain)
    end(Operation.objects.filter(verb="move").order_by("pk")[0], OperationState.FAILED, code="no")
    text = page(cast.olga).get(PATH).content.decode()
    assert "Could not leave yet" in text
    assert "as an operator reads it" in text
    assert "shop-1" in text
    fragment = page(cast.olga).get(PATH, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment


def test_a_failed_set_up_is_not_said_to_be_tried_again(
    page: Browser, cast: Cast, shops: list[Instance]
) -> None:
    make_host("other")
    failed = make_shop(cast.bob, "half-open", state=TenantState.FAILED)
    place("half-open", 10_020)
    drain = drains.request(Host.objects.get(name="local"))
    text = page(cast.olga).get(PATH).content.decode()
    assert "tried again every minute" not in text
    assert "Their set-up failed, and they may hold data. Try each again, or remove it." in text
    assert f"/operator/operations/{failed.public_id}/" in text
    moves.request(shops[0], to_host=None, reason="test", drain=drain)
    end(Operation.objects.get(verb="move"), OperationState.FAILED, code="no_room")
    text = page(cast.olga).get(PATH).content.decode()
    retried, stuck = text.split("tried again every minute")[1].split("Must be decided by you")
    assert ("shop-0" in retried, "half-open" in retried) == (True, False)
    assert ("shop-0" in stuck, "half-open" in stuck) == (False, True)
    japanese = page(cast.olga).get(PATH, headers={"Accept-Language": "ja"}).content.decode()
    assert "プールに空きがありません" in japanese
    assert "ショップが応答しません" in japanese


def test_stopping_it_opens_the_host(page: Browser, cast: Cast, shops: list[Instance]) -> None:
    make_host("other")
    drains.request(Host.objects.get(name="local"))
    page(cast.olga).post("/operator/hosts/local/undrain/", follow=True)
    assert Drain.objects.get().state == DrainState.CANCELLED
    assert Host.objects.get(name="local").state == HostState.OPEN


def test_only_operators_find_it(page: Browser, cast: Cast) -> None:
    assert page(cast.alice).get(PATH).status_code == 404
    assert page(cast.alice).post("/operator/hosts/local/undrain/").status_code == 404
    assert page(None).post(PATH).status_code == 302
    assert page(cast.olga).get("/operator/hosts/none/drain/").status_code == 404


def test_it_costs_the_same_for_few_shops_and_for_many(
    page: Browser, cast: Cast, shops: list[Instance]
) -> None:
    make_host("other")
    client = page(cast.olga)
    drain = drains.request(Host.objects.get(name="local"))
    moves.request(shops[0], to_host=None, reason="test", drain=drain)
    with CaptureQueriesContext(connection) as few:
        client.get(PATH)
    for number in range(10, 30):
        make_shop(cast.bob, f"more-{number}", state=TenantState.LIVE)
        place(f"more-{number}", 10_000 + number)
    moves.request(shops[1], to_host=None, reason="test", drain=drain)
    with CaptureQueriesContext(connection) as many:
        client.get(PATH)
    assert len(many) == len(few) <= 16


def test_it_speaks_japanese(page: Browser, cast: Cast, shops: list[Instance]) -> None:
    make_host("other")
    client = page(cast.olga)
    ja = {"Accept-Language": "ja"}
    assert "3 店すべてをほかに移せます" in client.get(PATH, headers=ja).content.decode()
    drains.request(Host.objects.get(name="local"))
    assert "3 店中 0 店が移動済み" in client.get(PATH, headers=ja).content.decode()
