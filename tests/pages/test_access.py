"""Who may open what: every merchant's page as another merchant, every operator's page as a merchant."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from tenants.accounts.models import Member
from tenants.shops.models import FirstLogin
from tenants.states import TenantState
from tests.pages.conftest import PASSWORD, Cast, make_shop

Browser = Callable[[Member | None], Client]

MERCHANT = [
    ("get", "/operations/{id}/"),
    ("get", "/operations/{id}/steps/"),
    ("post", "/operations/{id}/retry/"),
    ("post", "/operations/{id}/cancel/"),
    ("get", "/shops/{slug}/"),
    ("post", "/shops/{slug}/first-login/"),
    ("get", "/shops/{slug}/remove/"),
    ("post", "/shops/{slug}/remove/"),
]
OPERATOR = [
    ("get", "/operator/"),
    ("get", "/operator/tenants/"),
    ("get", "/operator/tenants/{tenant}/"),
    ("get", "/operator/operations/"),
    ("get", "/operator/operations/{id}/"),
    ("post", "/operator/operations/{id}/retry/"),
    ("post", "/operator/operations/{id}/cancel/"),
    ("get", "/operator/hosts/local/"),
    ("get", "/operator/switches/placements/"),
    ("post", "/operator/switches/placements/"),
]


@pytest.mark.parametrize(("method", "path"), MERCHANT)
def test_another_merchants_page_does_not_exist(
    page: Browser, cast: Cast, method: str, path: str
) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    make_shop(cast.bob, "bobs", state=TenantState.LIVE)
    target = path.format(id=operation.public_id, slug="acme")
    answer = getattr(page(cast.bob), method)(target, {"typed": "acme"})
    assert answer.status_code == 404
    operation.tenant.refresh_from_db()
    assert operation.tenant.state == TenantState.LIVE
    assert FirstLogin.objects.get(tenant=operation.tenant).shown_at is None


@pytest.mark.parametrize(("method", "path"), MERCHANT + OPERATOR)
def test_without_a_login_there_is_only_the_way_to_it(
    page: Browser, cast: Cast, method: str, path: str
) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    target = path.format(id=operation.public_id, slug="acme", tenant=operation.tenant.public_id)
    answer = getattr(page(None), method)(target)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/?next=/")


@pytest.mark.parametrize(("method", "path"), OPERATOR)
def test_the_operators_pages_do_not_exist_for_merchants(
    page: Browser, cast: Cast, method: str, path: str
) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    target = path.format(id=operation.public_id, tenant=operation.tenant.public_id)
    assert getattr(page(cast.alice), method)(target).status_code == 404


@pytest.mark.parametrize(("method", "path"), OPERATOR)
def test_the_operators_pages_open_for_operators(
    page: Browser, cast: Cast, method: str, path: str
) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    target = path.format(id=operation.public_id, tenant=operation.tenant.public_id)
    assert getattr(page(cast.olga), method)(target).status_code in {200, 302, 400}


def test_logging_in_leads_on_to_where_one_wanted_to_go(page: Browser) -> None:
    fields = {"email": "ALICE@example.com", "password": PASSWORD, "next": "/shops/acme/"}
    assert page(None).post("/login/", fields)["Location"] == "/shops/acme/"


@pytest.mark.parametrize("goal", ["https://evil.example/", "//evil.example/", "javascript:x"])
def test_logging_in_never_leads_elsewhere(page: Browser, goal: str) -> None:
    fields = {"email": "alice@example.com", "password": PASSWORD, "next": goal}
    assert page(None).post("/login/", fields)["Location"] == "/shops/"


def test_a_wrong_password_and_an_unknown_address_sound_the_same(page: Browser) -> None:
    def words(email: str) -> str:
        answer = page(None).post("/login/", {"email": email, "password": "wrong wrong wrong"})
        assert answer.status_code == 400
        return str(answer.context["error"])

    assert words("alice@example.com") == words("nobody@example.com")


def test_guessing_passwords_is_slowed_down_per_address(page: Browser, settings: Settings) -> None:
    settings.STOA_LOGINS_PER_QUARTER = 10
    client = page(None)
    for _ in range(10):
        client.post("/login/", {"email": "alice@example.com", "password": "wrong"})
    right = {"email": "alice@example.com", "password": PASSWORD}
    assert client.post("/login/", right).status_code == 429
    other = {"email": "bob@example.com", "password": PASSWORD}
    assert client.post("/login/", other).status_code == 302


def test_logging_out_ends_the_session_and_needs_a_post(page: Browser, cast: Cast) -> None:
    client = page(cast.alice)
    assert client.get("/logout/").status_code == 405
    client.post("/logout/")
    assert client.get("/shops/").status_code == 302


def test_a_page_that_is_not_there_says_so_in_our_look(page: Browser) -> None:
    answer = page(None).get("/nothing/here/")
    assert answer.status_code == 404
    assert "There is nothing at this address" in answer.content.decode()
