"""Every end point, tried as the other tenant, as nobody, and with a browser's session."""

import itertools

import pytest
from django.test import Client
from django.urls import URLPattern

from tenants.accounts import tokens
from tenants.accounts.models import Member
from tenants.api import urls
from tenants.core import transitions
from tenants.operations import attempts, leases
from tenants.operations.models import Operation
from tenants.shops.models import Tenant
from tenants.states import TenantState
from tests.factories import PASSWORD, claim, make_host, make_member, make_shop
from tests.tenants.api.conftest import Program
from tests.tenants.api.test_hosts import FOR_OPERATORS as OF_THE_POOL

OF_A_TENANT = [
    ("GET", "tenants/{slug}"),
    ("DELETE", "tenants/{slug}"),
    ("POST", "tenants/{slug}/first-login"),
    ("GET", "tenants/{slug}/events"),
    ("GET", "tenants/{slug}/snapshots"),
    ("POST", "tenants/{slug}/snapshots"),
    ("POST", "tenants/{slug}/snapshots/accept"),
    ("POST", "tenants/{slug}/restore"),
    ("GET", "tenants/{slug}/data"),
    ("POST", "tenants/{slug}/data"),
    ("GET", "operations/{operation}"),
    ("POST", "operations/{operation}/retry"),
    ("POST", "operations/{operation}/cancel"),
]
FOR_ALL = [("GET", "tenants"), ("POST", "tenants"), ("GET", "hosts")]
FOR_OPERATORS = [
    ("GET", "pool/forecast"),
    ("GET", "tenants/{slug}/decisions"),
    ("GET", "alarms"),
    ("POST", "alarms/test"),
]


def test_every_end_point_of_the_api_is_tried_here() -> None:
    written = {
        str(one.pattern)
        .replace("<tenant_slug:slug>", "{slug}")
        .replace("<public_id:public_id>", "{operation}")
        .replace("<host_name:name>", "one")
        .replace("<public_id:key_id>", "abc")
        for one in urls.urlpatterns
        if isinstance(one, URLPattern) and str(one.pattern).startswith("api/v1/")
    }
    tried = {
        f"api/v1/{path}"
        for _, path in itertools.chain(OF_A_TENANT, FOR_ALL, FOR_OPERATORS, OF_THE_POOL)
    }
    # Plans are for everybody; moves are for operators, whom test_drain.py tells from others.
    assert written - tried == {"api/v1/plans", "api/v1/tenants/{slug}/move"}


@pytest.mark.parametrize(("method", "path"), OF_A_TENANT)
def test_what_is_anothers_is_not_there(
    alice: Member, bobs: Program, method: str, path: str
) -> None:
    made = make_shop(member=alice)
    before = Operation.objects.values().get(), Tenant.objects.values().get()
    answer = bobs.call(method, path.format(slug="acme", operation=made.operation.public_id))
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"
    assert (Operation.objects.values().get(), Tenant.objects.values().get()) == before


@pytest.mark.parametrize(("method", "path"), OF_A_TENANT)
def test_what_is_ones_own_is_there(alice: Member, alices: Program, method: str, path: str) -> None:
    made = make_shop(member=alice)
    if "restore" in path:
        pytest.skip("needs a copy to go back to: tests/tenants/api/test_snapshots.py")
    if (method, path) == ("POST", "tenants/{slug}/data"):
        pytest.skip("needs a shop whose data is missing: tests/tenants/api/test_missing_data.py")
    if "first-login" in path or "snapshots" in path:
        transitions.move(made.tenant, TenantState.LIVE, reason="a test")
    if "retry" in path:
        attempts.fail(claim(made), code="x", message="x")
    answer = alices.call(method, path.format(slug="acme", operation=made.operation.public_id))
    assert answer.status_code in {200, 202}, answer.content


@pytest.mark.parametrize(("method", "path"), [*OF_A_TENANT, *FOR_ALL, *FOR_OPERATORS])
@pytest.mark.parametrize("text", ["", "stoa_x_y", "stoa_" + "0" * 12 + "_" + "0" * 38])
def test_nobody_without_a_working_token_gets_anything(
    nobody: Program, method: str, path: str, text: str
) -> None:
    made = make_shop()
    nobody.text = text
    answer = nobody.call(
        method, path.format(slug="acme", operation=made.operation.public_id), body={}
    )
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_list_holds_only_ones_own(alice: Member, alices: Program, bobs: Program) -> None:
    make_shop("alices", member=alice)
    make_shop("others")
    assert [one["slug"] for one in alices.get("tenants").json()["results"]] == ["alices"]
    assert bobs.get("tenants").json()["results"] == []


def test_hosts_are_for_operators(alices: Program, operator: Program) -> None:
    make_host("one")
    refused = alices.get("hosts")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    (host,) = operator.get("hosts").json()["results"]
    assert (host["name"], host["instances"], host["is_heard"]) == ("one", 0, False)
    assert host["cpu_millis"]["capacity"] == 4000


def test_plans_are_for_everybody(nobody: Program) -> None:
    (plan,) = nobody.get("plans").json()["results"]
    assert (plan["slug"], plan["price_minor"]) == ("starter", 500)


def test_a_token_of_an_operators_login_opens_only_that_logins_shops(
    operator: Program, bobs: Program
) -> None:
    boss = make_member("boss@example.com", is_operator=True)
    make_shop()
    bobs.text = tokens.create("narrow", member=boss).text
    assert bobs.get("tenants/acme").status_code == 404
    assert bobs.get("hosts").status_code == 403


def test_a_failure_is_told_to_members_without_our_insides(
    alice: Member, alices: Program, operator: Program
) -> None:
    made = make_shop(member=alice)
    lease = claim(made)
    leases.begin_step(lease, "start")
    attempts.fail(lease, code="unhealthy", message="host one at 100.96.0.1: no answer")
    path = f"operations/{made.operation.public_id}"
    told = alices.get(path)
    assert "100.96.0.1" not in told.content.decode()
    assert told.json()["error"]["code"] == "unhealthy"
    assert "100.96.0.1" in operator.get(path).json()["error"]["message"]


def test_a_browser_needs_its_csrf_token_to_write_but_not_to_read(alice: Member) -> None:
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username="alice@example.com", password=PASSWORD)
    assert browser.get("/api/v1/tenants").status_code == 200
    body = '{"slug": "acme", "shop_name": "Acme"}'
    refused = browser.post("/api/v1/tenants", body, content_type="application/json")
    assert refused.status_code == 403
    assert refused["Content-Type"] == "application/problem+json"
    assert not Tenant.objects.exists()
    browser.get("/shops/")
    token = browser.cookies["stoa-csrf"].value
    accepted = browser.post(
        "/api/v1/tenants",
        body,
        content_type="application/json",
        headers={"X-CSRFToken": token},
    )
    assert accepted.status_code == 202
