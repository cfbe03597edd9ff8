"""The sign-up form: what it takes, what it says about the rest, and that twice is once."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils.translation import override
from pytest_django import DjangoAssertNumQueries, Settings

from tenants.accounts.models import Member
from tenants.core import freezes
from tenants.core.models import FreezeSwitch
from tenants.operations.models import Operation
from tenants.pool.models import Host
from tenants.shops.models import Tenant
from tenants.states import TenantState
from tests.pages.conftest import PASSWORD, Cast, make_shop, tenant_of

Browser = Callable[[Member | None], Client]


def form(**changes: str) -> dict[str, str]:
    """A form filled in well, but for the changes."""
    return {
        "shop_name": "Blue Heron Books",
        "slug": "blue-heron",
        "email": "merchant@example.com",
        "password": PASSWORD,
        "plan": "starter",
        "language": "en",
        "form_token": "a" * 32,
    } | changes


def test_a_good_form_opens_an_operation_and_logs_the_merchant_in(page: Browser) -> None:
    client = page(None)
    answer = client.post("/signup/", form())
    operation = Operation.objects.get(tenant__slug="blue-heron")
    assert answer.status_code == 302
    assert answer["Location"] == f"/operations/{operation.public_id}/"
    followed = client.get(answer["Location"])
    assert followed.status_code == 200
    assert "Your shop is being set up" in followed.content.decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slug": "admin"}, "is kept for the platform"),
        ({"slug": "Blue Heron"}, "may hold only a–z"),
        ({"slug": "-blue"}, "may hold only a–z"),
        ({"slug": "ab"}, "must have 3 to 40 characters"),
        ({"slug": "b" * 41}, "must have 3 to 40 characters"),
        ({"slug": "xn--caf"}, "may hold only a–z"),
        ({"slug": ""}, "Choose an address"),
        ({"shop_name": "   "}, "Give your shop a name"),
        ({"shop_name": "x" * 81}, "at most 80 characters"),
        ({"email": "not-an-address"}, "does not look like an e-mail address"),
        ({"email": ""}, "Enter your e-mail address"),
        ({"password": "short"}, "at least 10 characters"),
        ({"password": "password1234"}, "too common"),
        ({"password": "merchant@example.com"}, "too similar"),
        ({"plan": "gold"}, "There is no plan “gold”"),
        ({"email": "ALICE@example.com"}, "There is already a login"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_nothing_is_made(
    page: Browser, changes: dict[str, str], words: str
) -> None:
    answer = page(None).post("/signup/", form(**changes))
    assert answer.status_code in {400, 409}
    assert words in answer.content.decode()
    assert not Tenant.objects.exists()


def test_every_wrong_field_is_named_at_once(page: Browser) -> None:
    answer = page(None).post("/signup/", form(slug="www", email="x", password="y", shop_name=""))
    assert answer.content.decode().count('aria-invalid="true"') == 4


def test_a_taken_address_comes_with_three_that_are_free(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme")
    make_shop(cast.alice, "acme-shop")
    answer = page(None).post("/signup/", form(slug="acme"))
    body = answer.content.decode()
    assert "is taken" in body
    free = re.findall(r'data-take="([^"]+)"', body)
    assert len(free) == 3
    assert "acme-shop" not in free


def test_an_e_mail_address_that_has_a_login_comes_with_the_way_to_it(page: Browser) -> None:
    body = page(None).post("/signup/", form(email="bob@example.com")).content.decode()
    assert "/login/?email=bob%40example.com" in body


def test_what_was_typed_is_kept_but_never_the_password(page: Browser) -> None:
    body = page(None).post("/signup/", form(slug="www", plan="plus")).content.decode()
    assert 'value="Blue Heron Books"' in body
    assert re.search(r'value="plus" checked', body)
    assert PASSWORD not in body


def test_a_form_sent_twice_is_one_shop(page: Browser) -> None:
    first, second = page(None), page(None)  # the browser threw the first answer away
    there = first.post("/signup/", form())["Location"]
    again = second.post("/signup/", form())["Location"]
    assert there == again
    assert second.get(again).status_code == 200
    assert Tenant.objects.count() == 1


def test_the_way_back_and_again_is_one_shop(page: Browser) -> None:
    client = page(None)
    there = client.post("/signup/", form())["Location"]
    assert client.post("/signup/", form())["Location"] == there


def test_the_old_form_after_logging_in_leads_to_its_shop_and_changes_nothing(
    page: Browser,
) -> None:
    # Logging in renews the CSRF token, so the form on the page behind has an old one.
    client = Client(enforce_csrf_checks=True)
    page(None)
    token = client.get("/").context["csrf_token"]
    there = client.post("/signup/", form(csrfmiddlewaretoken=str(token)))["Location"]
    again = client.post("/signup/", form(csrfmiddlewaretoken=str(token)))
    assert again.status_code == 302
    assert again["Location"] == there
    assert Tenant.objects.count() == 1
    other = client.post("/signup/", form(csrfmiddlewaretoken=str(token), slug="other-shop"))
    assert other.status_code == 403
    assert "This page was open for too long" in other.content.decode()


def test_someone_elses_form_token_opens_nothing(page: Browser) -> None:
    page(None).post("/signup/", form())
    answer = page(None).post("/signup/", form(password="a quite different password"))
    assert answer.status_code == 400
    assert "is taken" in answer.content.decode()
    assert not answer.wsgi_request.user.is_authenticated


def test_a_member_opens_a_second_shop_without_e_mail_and_password(
    page: Browser, cast: Cast
) -> None:
    make_shop(cast.alice, "first")
    client = page(cast.alice)
    assert 'name="password"' not in client.get("/").content.decode()
    answer = client.post("/signup/", form(slug="second", email="", password=""))
    assert answer.status_code == 302
    assert tenant_of("second").memberships.get().member == cast.alice


def test_frozen_placements_are_said_before_and_after_the_form_is_sent(page: Browser) -> None:
    name = FreezeSwitch.Name.PLACEMENTS
    freezes.set_switch(name, is_on=True, reason="maintenance", changed_by="test")
    body = page(None).get("/").content.decode()
    assert "We cannot take new shops right now" in body
    assert "You have not been charged" in body
    answer = page(None).post("/signup/", form())
    assert answer.status_code == 503
    assert "cannot take new shops" in answer.content.decode()
    assert not Tenant.objects.exists()


def test_a_pool_without_room_is_said_and_nothing_is_made(page: Browser) -> None:
    Host.objects.update(booked_memory_bytes=16 * 1024**3)
    answer = page(None).post("/signup/", form())
    assert answer.status_code == 503
    assert "no room for another shop" in answer.content.decode()
    assert not Tenant.objects.exists()
    assert not Member.objects.filter(email="merchant@example.com").exists()


def test_too_many_sign_ups_from_one_address_are_told_to_wait(
    page: Browser, settings: Settings
) -> None:
    settings.STOA_SIGNUPS_PER_HOUR = 2
    client = page(None)
    for number in range(2):
        fields = form(slug=f"shop-{number}", email=f"m{number}@example.com")
        assert page(None).post("/signup/", fields).status_code == 302
    assert client.post("/signup/", form()).status_code == 429
    elsewhere = client.post("/signup/", form(), HTTP_X_FORWARDED_FOR="203.0.113.7")
    assert elsewhere.status_code == 302


def test_a_removed_shops_address_is_free_again(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "phoenix", state=TenantState.FAILED)
    Tenant.objects.filter(pk=operation.tenant_id).update(state=TenantState.REMOVED)
    answer = page(None).get("/signup/availability/?slug=phoenix").json()
    assert answer["available"] is True


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Blue Heron Books", "blue-heron-books"),
        ("Café Müller & Söhne", "cafe-muller-and-sohne"),
        ("さくら屋", "sakuraya"),
        ("花屋みどり", "hanaya-midori"),
        ("東京珈琲", "tokyo-coffee"),
        ("フェリーチェ", "feriche"),
        ("きっさてん", "kissaten"),
        ("鸞", ""),
    ],
)
def test_an_address_is_proposed_from_the_name(page: Browser, name: str, slug: str) -> None:
    assert page(None).get("/signup/availability/", {"name": name}).json()["slug"] == slug


def test_a_proposal_steps_aside_for_a_shop_that_has_the_name(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme")
    answer = page(None).get("/signup/availability/", {"name": "Acme"}).json()
    assert answer == {
        "slug": "acme-shop",
        "available": True,
        "suggestions": [],
        "message": "This address is free.",
    }


def test_availability_is_asked_with_every_letter_and_takes_few_queries(
    page: Browser, cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make_shop(cast.alice, "acme")
    client = page(None)
    with django_assert_max_num_queries(3):
        client.get("/signup/availability/?slug=acme")


def test_the_form_speaks_japanese(page: Browser) -> None:
    client = page(None)
    answer = client.post("/signup/", form(slug="admin"), HTTP_ACCEPT_LANGUAGE="ja")
    body = answer.content.decode()
    assert '<html lang="ja">' in body
    assert "別のアドレスをお選びください" in body
    with override("ja"):
        assert re.search(r'value="ja" checked', client.get("/").content.decode()) is None
    japanese = client.get("/", HTTP_ACCEPT_LANGUAGE="ja").content.decode()
    assert re.search(r'value="ja" checked', japanese)


def test_the_language_switch_is_kept(page: Browser) -> None:
    client = page(None)
    client.post("/i18n/setlang/", {"language": "ja", "next": "/"})
    assert "自分だけのショップ" in client.get("/").content.decode()


def test_the_landing_page_reads_three_rows_sets_however_many_shops_there_are(
    page: Browser, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_shop(cast.alice, "one")
    make_shop(cast.alice, "two")
    with django_assert_num_queries(3):
        page(None).get("/")


def test_pages_carry_no_inline_script_or_style(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    paths = ["/", "/login/"]
    bodies = [page(None).get(path) for path in paths]
    bodies += [page(cast.olga).get(path) for path in ("/operator/", "/operator/tenants/")]
    bodies += [page(cast.alice).get(path) for path in ("/shops/", "/shops/acme/")]
    for answer in bodies:
        body = answer.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", body)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", body)
        assert "script-src 'self'" in answer["Content-Security-Policy"]


def test_a_client_from_outside_cannot_claim_another_address(
    page: Browser, settings: Settings
) -> None:
    settings.STOA_SIGNUPS_PER_HOUR = 1
    for number, expected in ((1, 302), (2, 429)):
        answer = page(None).post(
            "/signup/",
            form(slug=f"liar-{number}", email=f"l{number}@example.com"),
            REMOTE_ADDR="8.8.8.8",
            HTTP_X_FORWARDED_FOR=f"203.0.113.{number}",
        )
        assert answer.status_code == expected
