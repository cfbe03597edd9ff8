"""/internal/v1/snapshots/: archives of volumes, put and fetched by hosts at signed addresses.

The address is all the permission there is: it opens one object, for one method, for a while.
"""

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from tenants.snapshots import repositories, snapshot_queries
from tenants.snapshots.repositories import addresses
from tenants.snapshots.repositories.directory import DirectoryRepository


@never_cache
@require_http_methods(["GET", "PUT"])
def archive(request: HttpRequest, tenant: str, snapshot: str) -> HttpResponseBase:
    """Take or give one archive."""
    key = f"{tenant}/{snapshot}"
    repository = repositories.current()
    if (
        "X-Forwarded-For" in request.headers
        or "Forwarded" in request.headers
        or not isinstance(repository, DirectoryRepository)
        or not addresses.is_key(key)
    ):
        return HttpResponse(status=404)
    most = addresses.opens(str(request.method), key, request.META.get("QUERY_STRING", ""))
    if not most:
        return JsonResponse({"detail": "this address opens nothing, or not any more"}, status=403)
    try:
        if request.method == "PUT":
            return _take(request, repository, key, most)
        file = repository.opened(key)
    except repositories.RepositoryError as error:
        return JsonResponse({"detail": str(error)}, status=503, headers={"Retry-After": "5"})
    if file is None:
        return JsonResponse({"detail": "there is no such archive"}, status=404)
    return FileResponse(file, content_type="application/zstd")


def _take(
    request: HttpRequest, repository: DirectoryRepository, key: str, most: int
) -> HttpResponse:
    # What was kept once is not written again, however long the address is good.
    if not snapshot_queries.is_being_taken(*key.split("/")):
        return JsonResponse({"detail": "this archive is not expected"}, status=409)
    length = request.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdecimal() and len(length) <= 18 and int(length)):
        return JsonResponse({"detail": "Content-Length must say how much will come"}, status=411)
    if int(length) > most:
        words = f"{length} bytes are announced; this address takes at most {most}"
        return JsonResponse({"detail": words}, status=413)
    if not repository.receive(key, request.read, size=int(length)):
        return JsonResponse({"detail": "fewer bytes came than were announced"}, status=400)
    return HttpResponse(status=201)
