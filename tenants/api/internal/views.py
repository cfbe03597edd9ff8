"""/internal/v1/: what agents fetch from the program `depot`. The public edge answers 404 here, and has no
way to it; so do we if something leaks through.
"""

import sys
from pathlib import Path

from django.conf import settings
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from tenants.accounts import tokens
from tenants.catalogue import images
from tenants.errors import DATABASE_AWAY
from tenants.placement import route_table


@never_cache
@require_GET
def ca(request: HttpRequest) -> HttpResponseBase:
    """The certificate of the pool's CA, for a machine that knows its SHA-256 and not yet itself."""
    if _came_from_outside(request):
        return HttpResponse(status=404)
    try:
        certificate = Path(settings.STOA_CONTROL_CA).read_bytes()
    except OSError:
        return JsonResponse({"detail": "this control plane has no CA; run bin/up"}, status=404)
    return HttpResponse(certificate, content_type="application/x-pem-file")


@never_cache
@require_GET
def edge_routes(request: HttpRequest, name: str) -> HttpResponseBase:
    """The whole route table for the edge whose token comes with the request."""
    if _came_from_outside(request):
        return HttpResponse(status=404)
    keyword, secret = _credential(request)
    edge = route_table.named(name)
    # An unknown edge costs the same comparison, so that names cannot be tried out.
    is_known = tokens.matches(secret, edge.token_sha256 if edge else "0" * 64)
    if keyword != "bearer" or edge is None or not is_known:
        return JsonResponse({"detail": "this is not the token of that edge"}, status=401)
    return StreamingHttpResponse(route_table.route_table(), content_type="application/json")


@never_cache
@require_GET
def image_manifest(request: HttpRequest, digest: str) -> HttpResponseBase:
    """The manifest of a release's image, for any host."""
    return _refused(request) or _file(images.manifest_file(digest))


@never_cache
@require_GET
def image_blob(request: HttpRequest, digest: str) -> HttpResponseBase:
    """A blob of a release's image, for any host."""
    return _refused(request) or _file(images.blob_file(digest))


def missing(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Nothing is at this path of the depot."""
    return JsonResponse({"detail": "nothing is here"}, status=404)


def broken(request: HttpRequest) -> HttpResponse:
    """We failed; the log says how. While it is the database that is away, agents are to come again."""
    if isinstance(sys.exc_info()[1], DATABASE_AWAY):
        answer = JsonResponse({"detail": "the control plane's database is away"}, status=503)
        answer["Retry-After"] = "5"
        return answer
    return JsonResponse({"detail": "this failed; the depot's log says why"}, status=500)


def _refused(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a caller that is no host; None for a host."""
    if _came_from_outside(request):
        return HttpResponse(status=404)
    keyword, secret = _credential(request)
    if keyword != "bearer" or not images.is_hosts_token(tokens.sha256(secret)):
        return JsonResponse({"detail": "this is not the token of a host"}, status=401)
    return None


def _file(file: Path | None) -> HttpResponseBase:
    if file is None:
        return JsonResponse({"detail": "no release's image has this here"}, status=404)
    return FileResponse(file.open("rb"), content_type="application/octet-stream")


def _came_from_outside(request: HttpRequest) -> bool:
    """Agents come directly; what came through a proxy came from outside."""
    return "X-Forwarded-For" in request.headers or "Forwarded" in request.headers


def _credential(request: HttpRequest) -> tuple[str, str]:
    keyword, _, secret = request.headers.get("Authorization", "").partition(" ")
    return keyword.lower(), secret.strip()
