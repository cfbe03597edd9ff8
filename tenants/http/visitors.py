"""What the pages of sign-up and console share: who asks, from where, how often, and where to go next."""

import secrets
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme

from tenants.accounts.models import Member
from tenants.core import brakes

P = ParamSpec("P")
View = Callable[..., HttpResponseBase]


def member_of(request: HttpRequest) -> Member | None:
    """Return the member who is logged in."""
    return request.user if isinstance(request.user, Member) else None


def for_members(
    view: Callable[Concatenate[HttpRequest, Member, P], HttpResponseBase],
) -> View:
    """Give the view the member who is logged in; send anybody else to log in first."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        member = member_of(request)
        if member is None:
            return to_login(request)
        response = view(request, member, *args, **kwargs)
        # What belongs to a member must not be shown by the back button after they logged out.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return guarded


def client_address(request: HttpRequest) -> str:
    """Return the client's address: the edge, beside us, deletes what clients claim and sets its own."""
    direct = str(request.META.get("REMOTE_ADDR", ""))
    forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
    if forwarded and _is_private(direct):
        return forwarded.rpartition(",")[2].strip()
    return direct


def _is_private(address: str) -> bool:
    try:
        return ip_address(address).is_private
    except ValueError:
        return False


def source_of(request: HttpRequest) -> str:
    """Return the source that the client's address counts as."""
    return brakes.source(client_address(request))


def random_name() -> str:
    """Return a name that nobody guesses."""
    return secrets.token_urlsafe(12)


def next_page(request: HttpRequest, default: str) -> str:
    """Return where the reader wanted to go, if that is a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if wanted.startswith("/") and url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return wanted
    return default


def keep_language(response: HttpResponse, language: str) -> None:
    """Speak this language to the reader from now on."""
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=365 * 24 * 3600,
        path="/",
        secure=settings.LANGUAGE_COOKIE_SECURE,
        httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
        samesite="Lax",
    )


def is_fragment(request: HttpRequest) -> bool:
    """Return whether the page's own script asks for a part of a page only.

    Not so after the back button: htmx then marks its request, and needs the whole page.
    """
    going_back = request.headers.get("HX-History-Restore-Request") == "true"
    return request.headers.get("HX-Request") == "true" and not going_back


def to_login(request: HttpRequest) -> HttpResponseBase:
    """Send who is not logged in to do so; a page that refreshes a part of itself is reloaded whole."""
    if is_fragment(request):
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})
    return redirect_to_login(request.get_full_path())
