"""Our own answer to every refused request: a problem for programs, a page in their language for people."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import translation

from tenants.errors import FieldError, TenantsError

_FOR_PROGRAMS = ("/api/", "/internal/", "/signup/availability/")


def answer(
    request: HttpRequest, status: int, code: str, detail: str, *, field: str = ""
) -> HttpResponse:
    """The whole answer. field: the name of what is wrong, "" when it is no single field."""
    if request.path.startswith(_FOR_PROGRAMS):
        body = {
            "type": f"urn:stoa:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "instance": request.path,
            "code": code,
            "errors": [{"field": field, "message": detail}] if field else [],
        }
        response: HttpResponse = JsonResponse(
            body, status=status, content_type="application/problem+json"
        )
    else:
        # Some refusals come before the middleware that chooses the reader's language.
        with translation.override(translation.get_language_from_request(request)):
            page = render_to_string(
                "refused.html", {"status": status, "detail": detail, "field": field}, request
            )
        response = HttpResponse(page, status=status)
    response["Cache-Control"] = "no-store"
    return response


def of_error(request: HttpRequest, error: TenantsError) -> HttpResponse:
    """The answer to what the record refuses."""
    field = error.field if isinstance(error, FieldError) else ""
    answered = answer(request, error.status, error.code, str(error.message), field=field)
    return with_retry_after(answered, error)


def with_retry_after(response: HttpResponse, error: TenantsError) -> HttpResponse:
    """Say when to come again, where the error knows."""
    if wait := getattr(error, "wait_seconds", 0):
        response["Retry-After"] = str(wait)
    return response
