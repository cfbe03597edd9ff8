"""Serves /livez and /readyz for monitoring, and the page for requests that could not be answered."""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from controlplane.monitoring import health
from tenants.errors import DATABASE_AWAY


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """This process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 while the web can take a sign-up (it will be carried out when hosts answer), else 503.

    Which part is unwell is said, but not why: that is in the log and in `manage.py check_signup`.
    """
    parts = health.web_parts()
    well = all(part.is_well for part in parts)
    shown = {part.name: "ok" if part.is_well else "unwell" for part in parts}
    return JsonResponse({"ready": well, "parts": shown}, status=200 if well else 503)


RETRY_AFTER_SECONDS = 5


@never_cache
def broken(request: HttpRequest) -> HttpResponse:
    """Answer when a view, or what stands before it, raised: 503 while the database is at fault."""
    is_away = isinstance(sys.exc_info()[1], DATABASE_AWAY)
    status = 503 if is_away else 500
    if request.path.startswith("/api/"):
        code, detail = (
            ("unavailable", "The database cannot be reached. Try again soon.")
            if is_away
            else ("internal", "Something went wrong on our side; it has been logged.")
        )
        answer: HttpResponse = JsonResponse(
            {"type": f"urn:stoa:problem:{code}", "status": status, "code": code, "detail": detail},
            status=status,
            content_type="application/problem+json",
        )
    else:
        answer = HttpResponse(render_to_string(f"{status}.html"), status=status)
    if is_away:
        answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
