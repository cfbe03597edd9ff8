"""Every error of the API as RFC 9457 problem+json: one shape, one handler, nothing of our insides."""

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from tenants.errors import DATABASE_AWAY, FieldError, TenantsError

CONTENT_TYPE = "application/problem+json"
# When to come back, in seconds: room and thaw take minutes, a database restart takes moments.
RETRY_AFTER = {"no_room": 60, "pool_unseen": 10, "frozen": 60, "unavailable": 5}

log = logging.getLogger(__name__)


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """REST framework's EXCEPTION_HANDLER: any exception of a view becomes a problem."""
    set_rollback()
    request = context.get("request")
    path = request.path if request is not None else ""
    if isinstance(error, TenantsError):
        return _of_the_record(error, path)
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is nothing here.")
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return _of_the_framework(error, path)
    if isinstance(error, DATABASE_AWAY):
        log.warning("database unavailable: %s", error)
        return problem(503, "unavailable", "The database cannot be reached. Try again soon.", path)
    if isinstance(error, RecursionError):
        return problem(400, "parse_error", "The JSON is nested too deeply.", path)
    log.error("unexpected error at %s", path, exc_info=error)
    return problem(500, "internal", "Something went wrong on our side; it has been logged.", path)


def problem(
    status: int,
    code: str,
    detail: str,
    instance: str,
    *,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """The answer itself. errors: one {field, message} for each field at fault."""
    body = {
        "type": f"urn:stoa:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "errors": errors or [],
    }
    response = Response(body, status=status, content_type=CONTENT_TYPE)
    if code in RETRY_AFTER:
        response["Retry-After"] = str(RETRY_AFTER[code])
    return response


def _of_the_record(error: TenantsError, path: str) -> Response:
    message = str(error.message)
    errors = [{"field": error.field, "message": message}] if isinstance(error, FieldError) else []
    response = problem(error.status, error.code, message, path, errors=errors)
    if wait := getattr(error, "wait_seconds", 0):
        response["Retry-After"] = str(wait)
    return response


def _of_the_framework(error: exceptions.APIException, path: str) -> Response:
    if isinstance(error, exceptions.ValidationError):
        errors = list(_flattened(error.detail))
        detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
        return problem(400, "invalid", detail, path, errors=errors)
    response = problem(error.status_code, str(error.default_code), str(error.detail), path)
    if challenge := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        response["Retry-After"] = str(max(1, round(wait)))
    return response


def _flattened(detail: Any, field: str = "") -> "list[dict[str, str]]":
    if isinstance(detail, dict):
        return [
            one
            for key, value in detail.items()
            for one in _flattened(value, "" if key == "non_field_errors" else str(key))
        ]
    if isinstance(detail, list):
        return [one for value in detail for one in _flattened(value, field)]
    return [{"field": field, "message": str(detail)}]
