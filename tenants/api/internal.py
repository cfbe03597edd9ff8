"""/internal/v1/: what edges fetch. The public edge answers 404 here; so do we if something leaks through."""

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from tenants.queries import edges
from tenants.services import tokens


@never_cache
@require_GET
def edge_routes(request: HttpRequest, name: str) -> HttpResponseBase:
    """The whole route table for the edge whose token comes with the request."""
    # Agents come directly; what came through a proxy came from outside.
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return HttpResponse(status=404)
    keyword, _, secret = request.headers.get("Authorization", "").partition(" ")
    edge = edges.named(name)
    # An unknown edge costs the same comparison, so that names cannot be tried out.
    is_known = tokens.matches(secret.strip(), edge.token_sha256 if edge else "0" * 64)
    if keyword.lower() != "bearer" or edge is None or not is_known:
        return JsonResponse({"detail": "this is not the token of that edge"}, status=401)
    return StreamingHttpResponse(edges.route_table(), content_type="application/json")
