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

from tenants.accounts.models import Member
from tenants.errors import BusyError, TooManyTriesError
from tenants.http import access_brakes, visitors


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "POST"])
def log_in(request: HttpRequest) -> HttpResponseBase:
    """The login page; afterwards on to `next`, if that is a page of ours, or to my shops."""
    goal = visitors.next_page(request, reverse("console:shops"))
    if visitors.member_of(request) is not None:
        return redirect(goal)
    if request.method != "POST":
        return _page(request, goal)
    email = request.POST.get("email", "").strip()
    try:
        this_try = access_brakes.log_in(request, email)
        found = authenticate(request, username=email, password=request.POST.get("password", ""))
    except (TooManyTriesError, BusyError) as error:
        answer = _page(request, goal, error=str(error.message), status=error.status)
        answer["Retry-After"] = str(error.wait_seconds)
        return answer
    if not isinstance(found, Member):
        this_try.failed()
        # The same words for both cases: nobody learns here who has a login.
        words = _("This e-mail address and password do not match. Check both and try again.")
        return _page(request, goal, error=words, status=400)
    this_try.succeeded()
    login(request, found)
    response = redirect(goal)
    access_brakes.remember_browser(response, found)
    if settings.LANGUAGE_COOKIE_NAME not in request.COOKIES:
        visitors.keep_language(response, found.language)
    return response


@require_POST
def log_out(request: HttpRequest) -> HttpResponseBase:
    """End the session."""
    logout(request)
    return redirect("signup:landing")


def _page(
    request: HttpRequest, goal: str, *, error: str = "", status: int | None = None
) -> HttpResponse:
    email = request.POST.get("email") or request.GET.get("email", "")
    context = {"next": goal, "email": email[:254], "error": error}
    return render(request, "console/login.html", context, status=status)
