"""/api/v1/tenants: sign up, list, look, remove, first login."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from tenants.accounts.models import Member
from tenants.core import freezes, transitions
from tenants.operations import attempts, leases, steps
from tenants.operations.models import IdempotencyKey, Operation
from tenants.shops import removals
from tenants.shops.models import Instance, Tenant
from tenants.states import TenantState, Verb
from tests.factories import make_host, make_shop
from tests.tenants.api.conftest import Program


def test_a_sign_up_is_accepted_with_the_tenant_its_operation_and_where_to_go_on(
    operator: Program,
) -> None:
    answer = operator.sign_up(email="owner@example.com", language="ja")
    assert answer.status_code == 202
    body = answer.json()
    assert body["tenant"]["slug"] == "acme"
    assert body["tenant"]["address"] == "http://acme.localhost:8080"
    assert body["tenant"]["state"] == "requested"
    assert body["operation"]["state"] == "pending"
    assert [step["name"] for step in body["operation"]["steps"]] == list(
        steps.names(Verb.PROVISION)
    )
    assert answer["Location"] == body["links"]["operation"]
    followed = operator.get(answer["Location"])
    assert followed.status_code == 200
    assert followed.json() == body["operation"]
    assert operator.get(body["links"]["tenant"]).json() == body["tenant"]
    assert Member.objects.get(email="owner@example.com").has_usable_password() is False


def test_a_sign_up_costs_a_fixed_number_of_statements_and_hashes_no_password(
    operator: Program,
) -> None:
    operator.sign_up("first", email="first@example.com")  # the token's use is noted once a minute
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert operator.sign_up("second", email="second@example.com").status_code == 202
    # Inside a test's transaction BEGIN and COMMIT are a savepoint's two.
    assert len(asked) <= 21, "\n".join(one["sql"][:120] for one in asked)


def test_the_operator_opens_another_shop_for_somebody_who_has_a_login(operator: Program) -> None:
    assert operator.sign_up("one", email="owner@example.com").status_code == 202
    assert operator.sign_up("two", email="Owner@Example.com").status_code == 202
    assert Member.objects.get().memberships.count() == 2


def test_the_operator_may_sign_up_fifty_shops_in_a_row(
    operator: Program, settings: Settings
) -> None:
    settings.STOA_SIGNUPS_PER_HOUR = 2
    codes = {
        operator.sign_up(f"shop-{n}", email=f"o{n}@example.com").status_code for n in range(50)
    }
    assert codes == {202}


def test_a_member_is_told_when_to_come_back_after_too_many_sign_ups(
    alices: Program, settings: Settings
) -> None:
    settings.STOA_SIGNUPS_PER_HOUR = 2
    answers = [alices.sign_up(f"shop-{n}") for n in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[2]["Retry-After"]) > 0
    assert answers[2]["Content-Type"] == "application/problem+json"
    assert Tenant.objects.count() == 2


def test_a_repeat_by_key_is_never_braked(alices: Program, settings: Settings) -> None:
    settings.STOA_SIGNUPS_PER_HOUR = 1
    body = {"slug": "one", "shop_name": "One"}
    assert alices.post("tenants", body, **{"Idempotency-Key": "k"}).status_code == 202
    assert alices.sign_up("two").status_code == 429
    again = alices.post("tenants", body, **{"Idempotency-Key": "k"})
    assert again.status_code == 202
    assert again.json()["tenant"]["slug"] == "one"


def test_a_members_token_opens_so_many_shops_and_an_operators_any_number(
    alices: Program, operator: Program, settings: Settings
) -> None:
    settings.STOA_SHOPS_PER_LOGIN = 2
    codes = [alices.sign_up(f"shop-{n}").status_code for n in range(3)]
    assert codes == [202, 202, 409]
    assert operator.sign_up("third", email="alice@example.com").status_code == 202


def test_tokens_that_do_not_work_are_braked_and_one_that_does_is_not(
    operator: Program, alices: Program
) -> None:
    wrong = {"Authorization": "Bearer stoa_" + "a" * 12 + "_" + "b" * 38}
    codes = [alices.get("plans", **wrong).status_code for _ in range(130)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert alices.get("tenants").status_code == 200
    assert operator.get("tenants").status_code == 200


def test_a_members_token_opens_shops_for_that_member_only(alices: Program, alice: Member) -> None:
    assert alices.sign_up("one").status_code == 202
    assert alices.sign_up("two", email="ALICE@example.com").status_code == 202
    refused = alices.sign_up("three", email="bob@example.com")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "email"
    assert alice.memberships.count() == 2


def test_a_password_is_for_a_new_login_only(operator: Program, alices: Program) -> None:
    secret = "correct-horse-battery"
    assert operator.sign_up("one", email="new@example.com", password=secret).status_code == 202
    assert Member.objects.get(email="new@example.com").check_password(secret)
    for answer in (
        operator.sign_up("two", email="new@example.com", password=secret),
        alices.sign_up("three", password=secret),
    ):
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "password"


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"slug": "ab"}, 400, "invalid", "slug"),
        ({"slug": "admin"}, 400, "invalid", "slug"),
        ({"slug": None}, 400, "invalid", "slug"),
        ({"slug": ["acme"]}, 400, "invalid", "slug"),
        ({"slug": "a\0b"}, 400, "invalid", "slug"),
        ({"slug": "a" * 41}, 400, "invalid", "slug"),
        ({"slug": "taken"}, 409, "slug_taken", "slug"),
        ({"shop_name": ""}, 400, "invalid", "shop_name"),
        ({"shop_name": "\ud800"}, 400, "invalid", "shop_name"),
        ({"email": "nobody"}, 400, "invalid", "email"),
        ({"email": ""}, 400, "invalid", "email"),
        ({"email": "\ud800@example.com"}, 400, "invalid", "email"),
        ({"password": "short"}, 400, "invalid", "password"),
        ({"plan": "gold"}, 400, "invalid", "plan"),
        ({"language": "tlh"}, 400, "invalid", "language"),
        ({"app": "games"}, 400, "invalid", "app"),
    ],
)
def test_a_refusal_names_the_field(
    operator: Program, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    make_shop("taken")
    before = Tenant.objects.count()
    sent = {"slug": "acme", "shop_name": "Acme", "email": "owner@example.com"} | fields
    answer = operator.post("tenants", sent)
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert Tenant.objects.count() == before


@pytest.mark.parametrize("code", ["frozen", "no_room"])
def test_a_pool_that_takes_nothing_says_when_to_come_back(operator: Program, code: str) -> None:
    if code == "frozen":
        freezes.set_switch("placements", is_on=True, reason="a test", changed_by="x")
    else:
        make_host(cpu_millis=5)
    answer = operator.sign_up(email="owner@example.com")
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert int(answer["Retry-After"]) > 0


def test_the_same_key_and_body_is_the_same_sign_up(operator: Program) -> None:
    body = {"slug": "acme", "shop_name": "Acme", "email": "owner@example.com"}
    key = {"Idempotency-Key": "7e1f"}
    first = operator.post("tenants", body, **key)
    again = operator.post("tenants", dict(reversed(body.items())), **key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["operation"]["id"] == first.json()["operation"]["id"]
    assert Tenant.objects.count() == 1
    other = operator.post("tenants", body | {"slug": "other"}, **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_keys_of_two_principals_have_nothing_to_do_with_each_other(
    alices: Program, bobs: Program
) -> None:
    for program, slug in ((alices, "one"), (bobs, "two")):
        answer = program.post(
            "tenants", {"slug": slug, "shop_name": "x"}, **{"Idempotency-Key": "k"}
        )
        assert answer.status_code == 202
    assert IdempotencyKey.objects.count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
def test_a_key_that_cannot_be_one_is_refused(operator: Program, key: str) -> None:
    answer = operator.post("tenants", {"slug": "acme"}, **{"Idempotency-Key": key})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_a_list_is_newest_first_and_paged_by_key(operator: Program) -> None:
    for n in range(5):
        make_shop(f"shop-{n}")
    first = operator.get("tenants?page_size=2")
    assert [one["slug"] for one in first.json()["results"]] == ["shop-4", "shop-3"]
    assert first.json()["next"] in first["Link"]
    make_shop("newer")
    second = operator.get(first.json()["next"].replace("http://testserver", "")).json()
    assert [one["slug"] for one in second["results"]] == ["shop-2", "shop-1"]


def test_a_list_costs_the_same_whatever_its_length(operator: Program) -> None:
    counts = []
    for n in range(6):
        make_shop(f"shop-{n}")
        if n in (0, 5):
            operator.get("tenants")
            with CaptureQueriesContext(connection) as asked:
                assert len(operator.get("tenants").json()["results"]) == n + 1
            counts.append(len(asked))
    assert counts[0] == counts[1] == 2  # the token and the page


def test_a_list_is_filtered_by_state_and_by_the_beginning_of_the_slug(operator: Program) -> None:
    for slug in ("apple", "apricot", "banana"):
        make_shop(slug)
    transitions.move(Tenant.objects.get(slug="apple"), TenantState.LIVE, reason="a test")

    def slugs(query: str) -> list[str]:
        return [one["slug"] for one in operator.get(f"tenants?{query}").json()["results"]]

    assert slugs("q=ap") == ["apricot", "apple"]
    assert slugs("state=live") == ["apple"]
    assert slugs("state=requested&q=B") == ["banana"]
    assert slugs("state=removed") == []


@pytest.mark.parametrize(
    ("query", "field"), [("state=asleep", "state"), ("q=a%25", "q"), ("q=" + "a" * 41, "q")]
)
def test_a_filter_that_means_nothing_is_refused(operator: Program, query: str, field: str) -> None:
    answer = operator.get(f"tenants?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


def test_a_removal_is_accepted_and_a_repeat_gives_the_same_operation(operator: Program) -> None:
    make_shop()
    first = operator.delete("tenants/acme")
    assert first.status_code == 202
    assert first.json()["operation"]["verb"] == "remove"
    assert operator.delete("tenants/acme").json() == first.json()
    lease = leases.claim(Operation.objects.get(verb="remove").pk, owner="worker")
    assert lease is not None
    attempts.succeed(lease)
    removals.record_removed(Tenant.objects.get(), Instance.objects.get())
    after = operator.delete("tenants/acme")
    assert after.status_code == 202
    assert after.json()["operation"]["id"] == first.json()["operation"]["id"]
    assert operator.get("tenants/acme").json()["state"] == "removed"
    assert operator.get("tenants").json()["results"] == []
    assert len(operator.get("tenants?state=removed").json()["results"]) == 1


def test_the_first_login_is_shown_once_and_only_when_the_shop_runs(
    alices: Program, alice: Member
) -> None:
    tenant = make_shop(member=alice).tenant
    assert alices.post("tenants/acme/first-login").status_code == 409
    transitions.move(tenant, TenantState.LIVE, reason="a test")
    shown = alices.post("tenants/acme/first-login")
    assert shown.status_code == 200
    assert len(shown.json()["secret"]) >= 28
    assert shown["Cache-Control"] == "no-store"
    again = alices.post("tenants/acme/first-login")
    assert (again.status_code, again.json()["code"]) == (409, "state_conflict")
