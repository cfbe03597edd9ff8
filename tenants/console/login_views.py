"""Logging in and out."""

from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from tenants import web
from tenants.models import Member

_QUARTER_SECONDS = 15 * 60


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "POST"])
def log_in(request: HttpRequest) -> HttpResponseBase:
    """The login page; afterwards on to `next`, if that is a page of ours, or to my shops."""
    goal = web.next_page(request, reverse("console:shops"))
    if web.member_of(request) is not None:
        return redirect(goal)
    if request.method != "POST":
        return _page(request, goal)
    email = request.POST.get("email", "").strip()
    if not _may_try(request, email):
        words = _("Too many tries. Please wait a quarter of an hour and try again.")
        return _page(request, goal, error=words, status=429)
    found = authenticate(request, username=email, password=request.POST.get("password", ""))
    if not isinstance(found, Member):
        # The same words for both cases: nobody learns here who has a login.
        words = _("E-mail address and password do not belong together. Check both and try again.")
        return _page(request, goal, error=words, status=400)
    login(request, found)
    response = redirect(goal)
    if settings.LANGUAGE_COOKIE_NAME not in request.COOKIES:
        web.keep_language(response, found.language)
    return response


@require_POST
def log_out(request: HttpRequest) -> HttpResponseBase:
    """End the session."""
    logout(request)
    return redirect("signup:landing")


def _may_try(request: HttpRequest, email: str) -> bool:
    most = settings.STOA_LOGINS_PER_QUARTER
    subject = f"{email.lower()} {web.client_address(request)}"
    return web.may_go_on("login", subject, most=most, seconds=_QUARTER_SECONDS)


def _page(
    request: HttpRequest, goal: str, *, error: str = "", status: int | None = None
) -> HttpResponse:
    email = request.POST.get("email") or request.GET.get("email", "")
    context = {"next": goal, "email": email[:254], "error": error}
    return render(request, "console/login.html", context, status=status)
