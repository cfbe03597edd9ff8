"""Every error of the API as RFC 9457 problem+json: one shape, one handler, nothing of our insides."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Annotated, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from tenants.api.declared import About
from tenants.errors import DATABASE_AWAY, FieldError, TenantsError

CONTENT_TYPE = "application/problem+json"
# When to come back, in seconds: room and thaw take minutes, a database restart takes moments.
RETRY_AFTER = {"no_room": 60, "pool_unseen": 10, "frozen": 60, "unavailable": 5}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FieldErrorBody:
    """One field at fault."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ProblemBody:
    """Every refusal, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: Annotated[str, About("stable; programs decide by this")]
    errors: tuple[FieldErrorBody, ...]


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
    errors: tuple[FieldErrorBody, ...] = (),
) -> Response:
    """Return the answer itself. errors: one for each field at fault."""
    body = ProblemBody(
        type=f"urn:stoa:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        code=code,
        errors=errors,
    )
    # As a dict, because the description's own view has renderers that know no dataclasses.
    response = Response(asdict(body), status=status, content_type=CONTENT_TYPE)
    if code in RETRY_AFTER:
        response["Retry-After"] = str(RETRY_AFTER[code])
    return response


def _of_the_record(error: TenantsError, path: str) -> Response:
    message = str(error.message)
    errors = (FieldErrorBody(error.field, message),) if isinstance(error, FieldError) else ()
    response = problem(error.status, error.code, message, path, errors=errors)
    if wait := getattr(error, "wait_seconds", 0):
        response["Retry-After"] = str(wait)
    return response


def _of_the_framework(error: exceptions.APIException, path: str) -> Response:
    if isinstance(error, exceptions.ValidationError):
        errors = tuple(_flattened(error.detail))
        detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
        return problem(400, "invalid", detail, path, errors=errors)
    response = problem(error.status_code, str(error.default_code), str(error.detail), path)
    if challenge := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        response["Retry-After"] = str(max(1, round(wait)))
    return response


def _flattened(detail: Any, field: str = "") -> Iterator[FieldErrorBody]:
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _flattened(value, "" if key == "non_field_errors" else str(key))
    elif isinstance(detail, list):
        for value in detail:
            yield from _flattened(value, field)
    else:
        yield FieldErrorBody(field, str(detail))
