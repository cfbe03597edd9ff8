"""Guessing and flooding through the pages: braked for whoever does it, never for the owner."""

from collections.abc import Callable
from datetime import timedelta
from threading import Thread

import pytest
from django.contrib.auth.hashers import check_password, make_password
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from tenants.accounts import passwords
from tenants.accounts.models import Member
from tenants.core.models import Brake
from tenants.errors import BusyError
from tenants.http import access_brakes
from tenants.shops.models import Tenant
from tests.pages.conftest import PASSWORD, Cast, make_shop
from tests.pages.test_signup import form

Browser = Callable[[Member | None], Client]
ALICE = "alice@example.com"


@pytest.fixture(autouse=True)
def brakes_hold(settings: Settings) -> None:
    settings.STOA_LOGINS_PER_QUARTER = 10
    settings.STOA_SIGNUPS_PER_HOUR = 40
    settings.STOA_SHOPS_PER_LOGIN = 3


def log_in(client: Client, email: str, password: str, *, source: str = "203.0.113.1") -> int:
    fields = {"email": email, "password": password}
    answer = client.post("/login/", fields, headers={"X-Forwarded-For": source})
    if answer.status_code == 429:
        assert int(answer["Retry-After"]) > 0
        assert 'role="alert"' in answer.content.decode()
    return answer.status_code


def test_one_address_may_not_try_any_number_of_logins(page: Browser, cast: Cast) -> None:
    client = page(None)
    codes = [log_in(client, f"u{n}@example.com", "wrong") for n in range(70)]
    assert codes.count(400) == 10 * access_brakes.LOGINS_OF_AN_ADDRESS
    assert codes[-1] == 429
    assert log_in(client, ALICE, PASSWORD, source="203.0.113.2") == 302


def test_one_site_of_ipv6_does_not_try_once_more_from_each_of_its_networks(
    page: Browser, cast: Cast, settings: Settings
) -> None:
    settings.STOA_LOGINS_PER_QUARTER = settings.STOA_SIGNUPS_PER_HOUR = 1
    most, client = access_brakes.SOURCES_OF_A_SITE, page(None)
    tries = most * access_brakes.LOGINS_OF_AN_ADDRESS
    sources = [f"2001:db8:5:{n:x}::1" for n in range(tries + 1)]
    codes = [log_in(client, f"u{n}@x.test", "wrong", source=s) for n, s in enumerate(sources)]
    assert codes == [400] * tries + [429]
    assert log_in(client, ALICE, PASSWORD, source="2001:db8:6::1") == 302
    codes = [
        page(None)
        .post(
            "/signup/",
            form(slug=f"shop-{n}", email=f"m{n}@x.test", form_token=f"{n:032x}"),
            headers={"X-Forwarded-For": sources[n]},
        )
        .status_code
        for n in range(most + 1)
    ]
    assert codes == [302] * most + [429]


def test_a_count_is_wiped_by_nothing_that_a_client_sends(page: Browser, cast: Cast) -> None:
    client = page(None)
    assert [log_in(client, ALICE, "wrong") for _ in range(11)][-1] == 429
    for email in ("a\x00b@example.com", "\ud800@example.com", "x" * 70_000):
        raw = f"email={email!a}&password=x"
        client.post("/login/", raw, content_type="application/x-www-form-urlencoded")
    for number in range(400):
        Brake.objects.create(key=f"{number:064}", paid_until="2099-01-01T00:00Z")
    assert log_in(client, "bob@example.com", PASSWORD) == 302  # a success of one's own
    assert log_in(page(None), ALICE, PASSWORD) == 429


def test_an_account_under_attack_from_everywhere_is_open_to_its_owner(
    page: Browser, cast: Cast
) -> None:
    known = page(None)
    assert log_in(known, ALICE, PASSWORD, source="198.51.100.1") == 302
    known.post("/logout/")
    for number in range(40):
        log_in(page(None), ALICE, "wrong", source=f"192.0.2.{number}")
    tries = [log_in(page(None), ALICE, "wrong", source="192.0.2.200") for _ in range(4)]
    assert tries == [400] * access_brakes.TRIES_UNDER_ATTACK + [429]
    # Its browser is known, even from the attacker's own address; and so is every fresh address.
    assert log_in(known, ALICE, PASSWORD, source="192.0.2.200") == 302
    assert log_in(page(None), ALICE, PASSWORD, source="198.51.100.77") == 302


def test_a_known_browser_may_guess_no_oftener_and_no_other_login(page: Browser, cast: Cast) -> None:
    known = page(None)
    log_in(known, ALICE, PASSWORD)
    known.post("/logout/")
    assert [log_in(known, ALICE, "wrong", source=f"192.0.2.{n}") for n in range(11)] == [
        *[400] * 10,
        429,
    ]
    assert [log_in(known, "bob@example.com", "wrong") for _ in range(11)][-1] == 429
    known.cookies["stoa-browser"] = "made:up:cookie"
    assert log_in(known, ALICE, PASSWORD, source="198.51.100.9") == 302


def test_a_brake_lets_go_by_itself(page: Browser, cast: Cast) -> None:
    assert [log_in(page(None), ALICE, "wrong") for _ in range(11)][-1] == 429
    Brake.objects.update(paid_until=F("paid_until") - timedelta(seconds=91))
    assert log_in(page(None), ALICE, PASSWORD) == 302


def test_a_try_to_log_in_costs_few_queries(page: Browser, cast: Cast) -> None:
    client = page(None)
    client.get("/login/")
    with CaptureQueriesContext(connection) as asked:
        log_in(client, ALICE, "wrong")
    told = [one["sql"][:70] for one in asked]
    assert len(asked) <= 4, told  # under attack?; count; the member; one failure more
    for _ in range(9):
        log_in(client, ALICE, "wrong")
    with CaptureQueriesContext(connection) as asked:
        assert log_in(client, ALICE, "wrong") == 429
    assert len(asked) <= 2


def test_a_login_opens_so_many_shops_and_a_removed_one_makes_room(
    page: Browser, cast: Cast
) -> None:
    client = page(cast.alice)
    for number in range(3):
        make_shop(cast.alice, f"shop-{number}")
    refused = client.post("/signup/", form(slug="fourth"))
    assert refused.status_code == 409
    assert "as many as one login may open" in refused.content.decode()
    assert not Tenant.objects.filter(slug="fourth").exists()
    Tenant.objects.filter(slug="shop-0").update(state="removed")
    assert client.post("/signup/", form(slug="fourth")).status_code == 302


def test_all_sign_ups_together_have_a_rate_and_a_repeat_is_none(
    page: Browser, settings: Settings
) -> None:
    settings.STOA_SIGNUPS_IN_ALL_PER_HOUR = 2
    fields = [
        form(slug=f"shop-{n}", email=f"m{n}@example.com", form_token=f"{n:032x}") for n in range(3)
    ]
    sources = [{"X-Forwarded-For": f"203.0.113.{n}"} for n in range(3)]
    browsers = [page(None) for _ in range(3)]
    codes = [
        browser.post("/signup/", given, headers=source).status_code
        for browser, given, source in zip(browsers, fields, sources, strict=True)
    ]
    assert codes == [302, 302, 429]
    assert browsers[0].post("/signup/", fields[0]).status_code == 302
    assert Tenant.objects.count() == 2


def test_looking_for_free_addresses_is_braked_with_a_problem(page: Browser, cast: Cast) -> None:
    client = page(None)
    codes = {}
    for number in range(access_brakes.AVAILABILITY_PER_MINUTE + 30):
        answer = client.get(f"/signup/availability/?slug=shop-{number}")
        codes[answer.status_code] = answer
    assert set(codes) == {200, 429}
    assert codes[429]["Content-Type"] == "application/problem+json"
    assert int(codes[429]["Retry-After"]) >= 1
    elsewhere = client.get(
        "/signup/availability/?slug=x-y", headers={"X-Forwarded-For": "192.0.2.1"}
    )
    assert elsewhere.status_code == 200


def test_a_secret_is_asked_for_so_often_and_then_a_page_says_when(
    page: Browser, cast: Cast
) -> None:
    make_shop(cast.alice, "acme", state="live")
    client = page(cast.alice)
    answers = [client.post("/shops/acme/first-login/") for _ in range(13)]
    assert [one.status_code for one in answers] == [200] * 12 + [429]
    assert "This could not be done" in answers[-1].content.decode()
    assert int(answers[-1]["Retry-After"]) > 0
    japanese = client.post("/shops/acme/first-login/", headers={"Accept-Language": "ja"})
    assert "この操作はできませんでした" in japanese.content.decode()


@pytest.fixture
def argon(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["tenants.accounts.passwords.BoundedArgon2"]


def test_a_password_costs_what_owasp_says_and_an_older_hash_is_renewed(argon: None) -> None:
    kept = make_password(PASSWORD)
    assert "$m=19456,t=2,p=1$" in kept
    renewed: list[str] = []
    from django.contrib.auth.hashers import Argon2PasswordHasher

    older = Argon2PasswordHasher()
    assert check_password(PASSWORD, older.encode(PASSWORD, older.salt()), renewed.append)
    assert renewed == [PASSWORD]


def test_only_one_hash_at_a_time_and_who_waits_too_long_is_told(
    argon: None, page: Browser, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "QUEUE_SECONDS", 0.05)
    with passwords._turn:
        answer = page(None).post("/login/", {"email": ALICE, "password": "wrong"})
        assert answer.status_code == 503
        assert int(answer["Retry-After"]) > 0
        with pytest.raises(BusyError):
            make_password("x")
    monkeypatch.setattr(passwords, "QUEUE_SECONDS", 60)
    many = [Thread(target=make_password, args=("x",)) for _ in range(8)]
    for one in many:
        one.start()
    for one in many:
        one.join()
    assert page(None).post("/login/", {"email": ALICE, "password": "wrong"}).status_code == 400
