"""The description, the check of what is sent and the answers say the same; each can tell when it does not."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern
from rest_framework.exceptions import ValidationError

from tenants.api import urls
from tenants.api.declared import BodyRenderer, as_json, checked
from tenants.api.v1 import bodies, pool_requests, requests
from tests.factories import make_host, make_shop
from tests.tenants.api.conftest import Program
from tests.tenants.api.described import description, faults, misfits, schema_of_request

A_SHOP: dict[str, object] = {"slug": "acme", "shop_name": "Acme", "email": "a@example.com"}
# What may be sent: where, by which class it is checked, and one that is right in every field.
SENT: list[tuple[str, str, type, dict[str, object]]] = [
    (
        "POST",
        "tenants",
        requests.SignUpRequest,
        A_SHOP | {"password": "long enough", "plan": "starter", "language": "ja", "app": "shop"},
    ),
    ("POST", "tenants/acme/restore", requests.RestoreRequest, {"snapshot": "snp_x"}),
    (
        "POST",
        "tenants/acme/data",
        requests.DataChoiceRequest,
        {"choice": "copy", "snapshot": "snp_x", "confirm": "acme"},
    ),
    ("POST", "tenants/acme/move", requests.MoveRequest, {"to": "one"}),
    (
        "PATCH",
        "hosts/one",
        pool_requests.HostEdit,
        {
            "zone": "z",
            "engine": "crun",
            "labels": {"rack": "b4"},
            "reserve": {"cpu_millis": 1, "memory_bytes": 2, "disk_bytes": 3},
        },
    ),
    ("POST", "hosts/one/lost", pool_requests.ForgetRequest, {"confirm": "one"}),
    ("POST", "hosts/one/forget", pool_requests.ForgetRequest, {"confirm": "one"}),
    (
        "POST",
        "host-tokens",
        pool_requests.JoinTokenRequest,
        {"zone": "z", "labels": {"rack": ""}, "ttl_seconds": 60},
    ),
]
STRANGE: list[Any] = [None, "", "x" * 300, "7", 7, -1, 10**30, 0.5, True, [], ["x"], {}, {"x": 1}]


def _is_taken(kind: type, sent: object) -> bool:
    try:
        checked(kind, sent)
    except ValidationError:
        return False
    return True


def test_all_that_takes_a_body_is_tried_here() -> None:
    taking = {
        (method.upper(), path)
        for path, operations in description()["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    tried = {
        (method, path)
        for method, address, _, _ in SENT
        for path in description()["paths"]
        if schema_of_request(method, f"/api/v1/{address}")
        and path.count("/") == f"/api/v1/{address}".count("/")
        and path.rpartition("/")[2] in {address.rpartition("/")[2], "{name}"}
    }
    assert tried >= taking


@pytest.mark.parametrize(("method", "path", "kind", "right"), SENT)
def test_what_the_description_allows_is_taken_and_all_else_is_refused(
    method: str, path: str, kind: type, right: dict[str, object]
) -> None:
    schema = schema_of_request(method, f"/api/v1/{path}")
    cases: list[Any] = [right, {}, [], "x", None, right | {"unheard_of": 1}]
    for name, value in right.items():
        cases.append({one: other for one, other in right.items() if one != name})
        cases += [right | {name: strange} for strange in STRANGE]
        if isinstance(value, dict):
            cases += [right | {name: value | {one: x}} for one in value for x in STRANGE]
            cases.append(right | {name: value | {"unheard_of": [1]}})
    assert _is_taken(kind, right)
    differ = [one for one in cases if _is_taken(kind, one) != (misfits(schema, one) == [])]
    assert differ == []


def test_a_refusal_names_the_field_and_what_would_be_right(operator: Program) -> None:
    for sent, field, words in (
        ({"zones": "b"}, "zones", "there are: zone, engine, labels, reserve"),
        ({"reserve": {"cpu": 1}}, "reserve.cpu", "there are: cpu_millis"),
    ):
        answer = operator.call("PATCH", "hosts/one", sent)
        assert answer.status_code == 404, "a host that is not there comes first"
        with pytest.raises(ValidationError) as refused:
            checked(pool_requests.HostEdit, sent)
        told: Any = refused.value.detail
        assert words in str(told[field])
    answer = operator.sign_up(language="fr")
    (error,) = answer.json()["errors"]
    assert error["field"] == "language"
    assert "fr" in error["message"]
    assert "en, ja" in error["message"]


def test_every_method_of_the_api_is_declared() -> None:
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        if str(pattern.pattern).startswith("api/v1/"):
            view: Any = pattern.callback.view_class  # type: ignore[attr-defined]
            for method in ("get", "post", "put", "patch", "delete"):
                handler = getattr(view, method, None)
                assert handler is None or hasattr(handler, "query"), f"{view.__name__}.{method}"


def _answer(**other: object) -> bytes:
    made = make_shop()
    body = json.loads(BodyRenderer().render(bodies.tenant(made.tenant)))
    return json.dumps(body | other).encode()


@pytest.mark.django_db
def test_an_answer_that_its_description_does_not_say_is_seen() -> None:
    path = "/api/v1/tenants/acme"
    right = json.loads(_answer())
    assert faults("GET", path, 200, json.dumps(right).encode()) == []
    without = {name: value for name, value in right.items() if name != "plan"}
    for wrong in (
        without,
        right | {"colour": "red"},
        right | {"state": "asleep"},
        right | {"plan": None},
        right | {"is_answering": "yes"},
        right | {"created_at": "yesterday"},
    ):
        assert faults("GET", path, 200, json.dumps(wrong).encode()) != []
    assert faults("GET", path, 200, json.dumps(right | {"data_missing_since": None}).encode()) == []
    assert faults("GET", path, 201, json.dumps(right).encode()) != []
    assert faults("GET", path, 404, b'{"code": "not_found"}') != [], "a problem has its own shape"


def test_a_name_that_python_keeps_for_itself_and_a_field_left_out() -> None:
    found = bodies.EventDetailsBody(exit_code=None, percent=3)
    assert as_json(found) == {"exit_code": None, "percent": 3}
    schema = description()["components"]["schemas"]["OperationWaiting"]
    assert "for" in schema["properties"]


@pytest.mark.parametrize(
    "address", ["tenants/%0A", "tenants/a%0Ab", "operations/%C2%85", "hosts/%7F", "a%E2%80%A8b"]
)
def test_an_id_of_strange_signs_is_answered_with_a_problem(operator: Program, address: str) -> None:
    answer = Client().get(
        f"/api/v1/{address}", headers={"Authorization": f"Bearer {operator.text}"}
    )
    assert answer.status_code in {400, 404}
    assert answer["Content-Type"] == "application/problem+json"


def test_a_host_is_shown_and_forgotten(operator: Program) -> None:
    make_host("one")
    assert operator.get("hosts/one").status_code == 200
    assert operator.post("hosts/one/forget", {}).status_code == 400
    assert operator.post("hosts/one/forget", {"confirm": "one"}).status_code == 204
    assert operator.get("hosts/one").status_code == 404


def test_a_parameter_of_one_method_is_none_of_the_others(operator: Program) -> None:
    answer = operator.post("tenants?page_size=null", A_SHOP)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
