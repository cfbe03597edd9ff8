"""/livez and /readyz, for the edge, for docker-compose and for whoever watches."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from controlplane import health


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
