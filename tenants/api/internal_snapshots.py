"""/internal/v1/snapshots/: archives of volumes, put and fetched by hosts at signed addresses.

The address is all the permission there is: it opens one object, for one method, for a while.
"""

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from tenants import repositories
from tenants.queries import snapshots
from tenants.repositories import addresses
from tenants.repositories.directory import DirectoryRepository

# Of one archive; a volume has a ceiling far below.
MOST_BYTES = 1 << 40


@csrf_exempt
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
    if not addresses.opens(str(request.method), key, request.META.get("QUERY_STRING", "")):
        return JsonResponse({"detail": "this address opens nothing, or not any more"}, status=403)
    try:
        if request.method == "PUT":
            return _take(request, repository, key)
        file = repository.opened(key)
    except repositories.RepositoryError as error:
        return JsonResponse({"detail": str(error)}, status=503)
    if file is None:
        return JsonResponse({"detail": "there is no such archive"}, status=404)
    return FileResponse(file, content_type="application/zstd")


def _take(request: HttpRequest, repository: DirectoryRepository, key: str) -> HttpResponse:
    # What was kept once is not written again, however long the address is good.
    if not snapshots.is_being_taken(*key.split("/")):
        return JsonResponse({"detail": "nobody waits for this archive"}, status=409)
    told = request.headers.get("Content-Length", "")
    if not told.isdigit() or not 0 < int(told) <= MOST_BYTES:
        return JsonResponse({"detail": "Content-Length must say how much will come"}, status=411)
    if not repository.receive(key, request.read, size=int(told)):
        return JsonResponse({"detail": "fewer bytes came than were announced"}, status=400)
    return HttpResponse(status=201)
