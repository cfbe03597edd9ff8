"""My shops, one shop, and removing it."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.states import TenantState, Verb
from tests.pages.conftest import Cast, make_shop, tenant_of

Browser = Callable[[Member | None], Client]


def test_who_has_no_shop_is_shown_the_one_thing_to_do(page: Browser, cast: Cast) -> None:
    body = page(cast.alice).get("/shops/").content.decode()
    assert "No shop yet" in body
    assert "Open a shop" in body


def test_my_shops_are_listed_with_their_states_and_nobody_elses(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "running", state=TenantState.LIVE)
    make_shop(cast.alice, "broken", state=TenantState.FAILED)
    make_shop(cast.bob, "bobs", state=TenantState.LIVE)
    body = page(cast.alice).get("/shops/").content.decode()
    assert 'class="badge good"' in body
    assert 'class="badge bad"' in body
    assert "/shops/bobs/" not in body


@pytest.mark.parametrize("typed", ["", "acm", "ACME!", "remove"])
def test_a_shop_is_not_removed_by_a_wrong_word(page: Browser, cast: Cast, typed: str) -> None:
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    answer = page(cast.alice).post("/shops/acme/remove/", {"typed": typed})
    assert answer.status_code == 400
    assert tenant_of("acme").state == TenantState.LIVE


def test_typing_its_name_removes_the_shop_and_shows_how_it_goes(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    answer = page(cast.alice).post("/shops/acme/remove/", {"typed": "acme"}, follow=True)
    operation = Operation.objects.get(verb=Verb.REMOVE)
    assert answer.redirect_chain == [(f"/operations/{operation.public_id}/", 302)]
    assert "Your shop is being removed" in answer.content.decode()
    assert tenant_of("acme").state == TenantState.REMOVING


def test_removing_twice_is_one_removal(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    client = page(cast.alice)
    first = client.post("/shops/acme/remove/", {"typed": "acme"})["Location"]
    assert client.post("/shops/acme/remove/", {"typed": "acme"})["Location"] == first


def test_a_shop_that_is_leaving_cannot_show_its_secret(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    client = page(cast.alice)
    client.post("/shops/acme/remove/", {"typed": "acme"})
    assert client.post("/shops/acme/first-login/").status_code == 404


def test_my_shops_cost_the_same_for_one_and_for_ten(
    page: Browser, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = page(cast.alice)
    for number in range(10):
        make_shop(cast.alice, f"shop-{number}")
    with django_assert_num_queries(3):  # session, member, shops
        client.get("/shops/")


def test_names_with_markup_stay_text(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    tenant = operation.tenant
    type(tenant).objects.filter(pk=tenant.pk).update(shop_name="<b>A</b> & Söhne")
    body = page(cast.alice).get("/shops/acme/").content.decode()
    assert "&lt;b&gt;A&lt;/b&gt; &amp; Söhne" in body
    assert "<b>A</b>" not in body
