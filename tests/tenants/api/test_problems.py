"""Errors have one shape, whatever went wrong and whoever asks."""

from typing import Any

import pytest
from django.db import OperationalError

from tenants.shops import visible
from tests.tenants.api.conftest import Program

SHAPE = {"type", "title", "status", "detail", "instance", "code", "errors"}


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status", "code"),
    [
        ("GET", "/api/v1/nothing", None, "application/json", 404, "not_found"),
        ("POST", "/api/", None, "application/json", 404, "not_found"),
        ("GET", "/api/v1/tenants/UPPER", None, "application/json", 404, "not_found"),
        ("GET", "/api/v1/tenants/nobody", None, "application/json", 404, "not_found"),
        ("GET", "/api/v1/operations/op_x", None, "application/json", 404, "not_found"),
        ("PUT", "/api/v1/tenants", None, "application/json", 405, "method_not_allowed"),
        ("OPTIONS", "/api/v1/tenants", None, "application/json", 405, "method_not_allowed"),
        ("POST", "/api/v1/tenants", "{", "application/json", 400, "parse_error"),
        ("POST", "/api/v1/tenants", "[" * 60000, "application/json", 400, "parse_error"),
        ("POST", "/api/v1/tenants", "\udcff", "application/json", 400, "parse_error"),
        ("POST", "/api/v1/tenants", "[]", "application/json", 400, "invalid"),
        ("POST", "/api/v1/tenants", '"x"', "application/json", 400, "invalid"),
        ("POST", "/api/v1/tenants", "a=b", "text/plain", 415, "unsupported_media_type"),
        ("POST", "/api/v1/tenants", "x" * 70000, "application/json", 413, "too_large"),
    ],
)
def test_what_is_wrong_with_a_request_is_a_problem(
    operator: Program,
    method: str,
    path: str,
    body: Any,
    content_type: str,
    status: int,
    code: str,
) -> None:
    if body == "\udcff":
        body = body.encode("utf-8", "surrogateescape")
        answer = operator.client.generic(
            method,
            path,
            body,
            content_type=content_type,
            headers={"Authorization": f"Bearer {operator.text}"},
        )
    else:
        answer = operator.call(method, path, body, content_type=content_type, Accept="text/html")
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == SHAPE
    assert (told["status"], told["code"], told["instance"]) == (status, code, path)
    assert told["type"] == f"urn:stoa:problem:{code}"


def test_an_unexpected_error_tells_nothing_of_our_insides(
    operator: Program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret path /var/lib/x")

    monkeypatch.setattr(visible, "tenants", broken)
    answer = operator.get("tenants")
    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert set(answer.json()) == SHAPE
    assert "secret" not in answer.content.decode()
    assert "ZeroDivisionError" in caplog.text


def test_a_database_that_is_away_is_a_503(
    operator: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(visible, "tenants", away)
    answer = operator.get("tenants")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer["Retry-After"]) > 0


def test_a_request_id_is_echoed_and_a_strange_one_is_replaced(operator: Program) -> None:
    assert operator.get("tenants", **{"X-Request-Id": "abc-1"})["X-Request-Id"] == "abc-1"
    made_up = operator.get("nothing", **{"X-Request-Id": "a b\x7f"})["X-Request-Id"]
    assert len(made_up) == 32
