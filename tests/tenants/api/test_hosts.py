"""Hosts and join tokens over the API: for operators, with numbers, and never a secret twice."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from controlplane.secrets import pool_ca
from tenants.pool.models import Host, JoinToken
from tenants.states import HostHealth
from tests.factories import make_host
from tests.support.certificates import fingerprint
from tests.tenants.api.conftest import Program

FOR_OPERATORS = [
    ("GET", "hosts/one"),
    ("PATCH", "hosts/one"),
    ("DELETE", "hosts/one"),
    ("POST", "hosts/one/cordon"),
    ("POST", "hosts/one/uncordon"),
    ("POST", "hosts/one/lost"),
    ("POST", "hosts/one/forget"),
    ("GET", "hosts/one/drain"),
    ("POST", "hosts/one/drain"),
    ("DELETE", "hosts/one/drain"),
    ("GET", "host-tokens"),
    ("POST", "host-tokens"),
    ("DELETE", "host-tokens/abc"),
]


@pytest.fixture
def reachable(settings: Settings, tmp_path: Path) -> str:
    """A control plane that other machines reach; the SHA-256 of its CA."""
    pool_ca.ensure(tmp_path, {}, [], now=datetime.now(UTC))
    settings.STOA_CONTROL_CA = tmp_path / "pool-ca.crt"
    settings.STOA_POOL_ADDRESS, settings.STOA_DEPOT_PORT = "10.0.0.1", 18806
    return fingerprint(tmp_path / "pool-ca.crt")


@pytest.mark.parametrize(("method", "path"), FOR_OPERATORS)
def test_they_are_for_operators(alices: Program, operator: Program, method: str, path: str) -> None:
    make_host("one")
    before = Host.objects.values().get()
    answer = alices.call(method, path, {"confirm": "one", "zone": "z"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert Host.objects.values().get() == before
    assert not JoinToken.objects.exists()


@pytest.mark.parametrize(("method", "path"), FOR_OPERATORS)
def test_a_host_that_is_not_there_is_a_404(operator: Program, method: str, path: str) -> None:
    if path == "host-tokens":
        return
    answer = operator.call(method, path, {"confirm": "one"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_host_is_cordoned_opened_and_described(operator: Program) -> None:
    make_host("one")
    assert operator.post("hosts/one/cordon").json()["state"] == "cordoned"
    assert operator.post("hosts/one/uncordon").json()["state"] == "open"
    edited = operator.call(
        "PATCH", "hosts/one", {"labels": {"rack": "b4"}, "reserve": {"cpu_millis": 250}}
    ).json()
    assert (edited["labels"], edited["cpu_millis"]["reserve"]) == ({"rack": "b4"}, 250)
    assert edited["zone"] == "default"


def test_only_a_host_that_does_not_answer_is_declared_lost(operator: Program) -> None:
    host = make_host("one")
    assert operator.post("hosts/one/lost", {"confirm": "two"}).status_code == 400
    assert operator.post("hosts/one/lost", {"confirm": "one"}).status_code == 409
    Host.objects.filter(pk=host.pk).update(health=HostHealth.UNREACHABLE)
    told = operator.post("hosts/one/lost", {"confirm": "one"}).json()
    assert (told["health"], told["epoch"]) == ("lost", 2)


def test_a_wrong_change_names_its_field(operator: Program) -> None:
    make_host("one")
    refused = operator.call("PATCH", "hosts/one", {"zone": "No Zone"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "zone")


def test_an_empty_host_is_removed(operator: Program) -> None:
    make_host("one")
    assert operator.delete("hosts/one").status_code == 204
    assert operator.get("hosts").json()["results"] == []


def test_a_token_is_shown_once_with_its_command(operator: Program, reachable: str) -> None:
    made = operator.post("host-tokens", {"zone": "tokyo-1", "ttl_seconds": 3600})
    assert made.status_code == 201
    body = made.json()
    assert body["token"].startswith(f"J1.{reachable}.{body['id']}.")
    assert body["command"] == f"bin/stoa host join https://10.0.0.1:18806 --token {body['token']}"
    listed = operator.get("host-tokens")
    assert body["token"].split(".")[3] not in listed.content.decode()
    (row,) = listed.json()["results"]
    assert (row["id"], row["state"], row["zone"]) == (body["id"], "waiting", "tokyo-1")


def test_a_revoked_token_is_shown_as_such(operator: Program, reachable: str) -> None:
    key_id = operator.post("host-tokens", {}).json()["id"]
    assert operator.delete(f"host-tokens/{key_id}").status_code == 204
    assert operator.get("host-tokens").json()["results"][0]["state"] == "revoked"


def test_without_an_address_no_token_is_made_and_the_remedy_is_named(operator: Program) -> None:
    refused = operator.post("host-tokens", {})
    assert refused.status_code == 409
    assert "STOA_POOL_ADDRESS" in refused.json()["detail"]
    assert not JoinToken.objects.exists()
