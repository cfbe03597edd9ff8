"""Following an operation: what its page says at each turn, and to whom."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.shops import first_logins
from tenants.shops.models import FirstLogin
from tenants.states import OperationState, StepState, TenantState
from tests.pages.conftest import Cast, end, make_shop

Browser = Callable[[Member | None], Client]


def test_a_running_operation_shows_done_now_and_next(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    operation.steps.filter(name="place").update(state=StepState.DONE)
    operation.steps.filter(name="start").update(state=StepState.ACTIVE)
    body = page(cast.alice).get(f"/operations/{operation.public_id}/").content.decode()
    assert body.count('class="step done"') == 1
    assert body.count('class="step active"') == 1
    assert body.count('class="step waiting"') == 2
    assert "Step 2 of 4: Start your shop" in body
    assert f'data-events="/events/operations/{operation.public_id}"' in body
    assert '<noscript><meta http-equiv="refresh"' in body


def test_success_shows_address_admin_and_the_way_to_the_secret(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    body = page(cast.alice).get(f"/operations/{operation.public_id}/").content.decode()
    assert "Your shop is open" in body
    assert 'href="http://acme.localhost:8080/"' in body
    assert 'href="http://acme.localhost:8080/admin"' in body
    assert "Show the secret" in body
    assert "refresh" not in body


def test_the_secret_is_shown_once_and_wiped(page: Browser, cast: Cast) -> None:
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    client = page(cast.alice)
    first = client.post("/shops/acme/first-login/")
    secret = first.context["secret"]
    assert len(secret) == 31
    assert secret in first.content.decode()
    assert first["Cache-Control"] == "private, no-store"
    second = client.post("/shops/acme/first-login/").content.decode()
    assert secret not in second
    assert "It has been shown" in second
    assert bytes(FirstLogin.objects.get().ciphertext) == b""


def test_looking_at_pages_never_shows_the_secret(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.LIVE)
    client = page(cast.alice)
    client.get(f"/operations/{operation.public_id}/")
    client.get("/shops/acme/")
    assert client.get("/shops/acme/first-login/").status_code == 405
    assert first_logins.reveal(operation.tenant) is not None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("no_room", "There is no room for new shops right now. You have not been charged"),
        ("frozen", "We are not opening new shops at the moment"),
        ("pool_unseen", "Our machines cannot be reached"),
        ("unhealthy", "did not answer in time"),
        ("something_new", "Something failed on our side"),
    ],
)
def test_a_failure_is_told_in_plain_words_with_a_way_on(
    page: Browser, cast: Cast, code: str, words: str
) -> None:
    operation = make_shop(cast.alice, "acme")
    end(operation, OperationState.FAILED, code=code)
    body = page(cast.alice).get(f"/operations/{operation.public_id}/").content.decode()
    assert words in body
    assert f'action="/operations/{operation.public_id}/retry/"' in body
    assert "as an operator reads it" not in body


def test_a_retry_opens_the_operation_again(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme", state=TenantState.FAILED)
    page(cast.alice).post(f"/operations/{operation.public_id}/retry/")
    operation.refresh_from_db()
    assert operation.state == OperationState.PENDING


def test_a_retry_of_what_runs_says_so_and_changes_nothing(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    path = f"/operations/{operation.public_id}/retry/"
    answer = page(cast.alice).post(path, follow=True)
    assert "This cannot be tried again" in answer.content.decode()
    operation.refresh_from_db()
    assert operation.state == OperationState.PENDING


def test_a_stop_is_asked_for_and_shown(page: Browser, cast: Cast) -> None:
    operation = make_shop(cast.alice, "acme")
    answer = page(cast.alice).post(f"/operations/{operation.public_id}/cancel/", follow=True)
    operation.refresh_from_db()
    assert operation.cancel_requested
    assert "It is being stopped" in answer.content.decode()


def test_progress_is_read_in_one_query(
    cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    from tenants.operations import line_places, progress

    ids = [make_shop(cast.alice, f"shop-{number}").public_id for number in range(5)]
    line_places.current()  # read once a second for all pages
    with django_assert_num_queries(1):
        read = progress.progress_of(ids)
    assert set(read) == set(ids)
    assert [step.name for step in read[ids[0]].steps] == ["place", "start", "route", "check"]


def test_following_needs_a_login_and_comes_back(page: Browser, cast: Cast) -> None:
    operation: Operation = make_shop(cast.alice, "acme")
    path = f"/operations/{operation.public_id}/"
    answer = page(None).get(path)
    assert answer["Location"] == f"/login/?next={path}"


def test_who_cannot_try_again_finds_no_button_for_it(page: Browser, cast: Cast) -> None:
    closed = make_shop(cast.alice, "closed", state=TenantState.FAILED)
    opened = make_shop(cast.alice, "opened", state=TenantState.LIVE)
    end(opened, OperationState.FAILED, code="host_lost")
    for operation, has_button in ((closed, True), (opened, False)):
        for member, path in ((cast.alice, "/operations/"), (cast.olga, "/operator/operations/")):
            body = page(member).get(f"{path}{operation.public_id}/").content.decode()
            assert (f'action="{path}{operation.public_id}/retry/"' in body) == has_button, path
    body = page(cast.olga).get(f"/operator/operations/{opened.public_id}/").content.decode()
    assert "The platform starts this shop again by itself" in body
    path = f"/operator/operations/{opened.public_id}/retry/"
    for language, words in (("en", "the platform starts it again"), ("ja", "現在の状態では")):
        headers = {"Accept-Language": language}
        answer = page(cast.olga).post(path, follow=True, headers=headers)
        assert words in answer.content.decode()
    assert Operation.objects.get(pk=opened.pk).state == OperationState.FAILED
