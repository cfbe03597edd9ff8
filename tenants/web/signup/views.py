"""Landing and sign-up: one page, one form, and a quick answer whether an address is free."""

from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate, login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_GET, require_http_methods

from tenants.accounts.models import Member
from tenants.catalogue import price_list
from tenants.errors import EmailTakenError, FieldError, TenantsError
from tenants.http import access_brakes, refusals, visitors
from tenants.operations.models import Operation
from tenants.placement import shortages
from tenants.pool import overview
from tenants.shops import member_shops, signups, submissions
from tenants.shops.reserved_names import RESERVED_SLUGS
from tenants.web.signup import proposals
from tenants.web.signup.forms import SignUpFields, new_token

SUGGESTIONS = 3
_FIELDS = frozenset(SignUpFields.base_fields)


@cache_control(private=True, no_cache=True)
@require_GET
def landing(request: HttpRequest) -> HttpResponse:
    """Show what Stoa is, and the sign-up form.

    Not no-store: the back button must bring back this very form, so that sending it again is seen.
    """
    return _page(request, {})


@never_cache
@require_http_methods(["GET", "POST"])
def sign_up(request: HttpRequest) -> HttpResponseBase:
    """Take the form: to the operation's page when all is well, back with what to mend otherwise."""
    if request.method != "POST":
        return redirect("signup:landing")
    member = visitors.member_of(request)
    form = SignUpFields(request.POST, member=member)
    if not form.is_valid():
        known = _sent_before(request)
        if known is not None:
            return redirect("signup:operation", known.public_id)
        return _page(request, _errors(form), status=400)
    known = submissions.posted_before(
        form.cleaned_data["slug"], token=form.cleaned_data["form_token"]
    )
    try:
        if known is None:  # a form sent twice is one sign-up, for the brakes too
            access_brakes.sign_up(request, member)
        answer = submissions.sign_up_once(
            form.asked(),
            token=form.cleaned_data["form_token"],
            member=member,
            most_shops=settings.STOA_SHOPS_PER_LOGIN,
        )
    except TenantsError as error:
        return _refused(request, error)
    response = redirect("signup:operation", answer.operation.public_id)
    if answer.is_repeat:
        _sent_before(request)  # logs in who owns it; the operation's page turns others away
    elif member is None and answer.operation.requested_by is not None:
        _log_in(request, answer.operation.requested_by)
        access_brakes.remember_browser(response, answer.operation.requested_by)
    return response


def _refused(request: HttpRequest, error: TenantsError) -> HttpResponse:
    field = error.field if isinstance(error, FieldError) and error.field in _FIELDS else "form"
    answer = _page(request, {field: str(error.message)}, status=error.status)
    return refusals.with_retry_after(answer, error)


def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's answer to a missing or old CSRF token (CSRF_FAILURE_VIEW).

    Logging in renews the token, so who goes back to the sign-up form and sends it again lands here:
    show them the shop they have already, which changes nothing; everybody else reads what to do.
    """
    member = visitors.member_of(request)
    if request.method == "POST" and request.path == reverse("signup:sign_up") and member:
        known = _sent_before(request)
        if known is not None:
            return redirect("signup:operation", known.public_id)
    return render(request, "403_csrf.html", status=403)


@never_cache
@require_GET
def availability(request: HttpRequest) -> JsonResponse:
    """?slug= says whether an address is free; ?name= proposes a free one for a shop's name."""
    access_brakes.availability(request)
    name = request.GET.get("name", "")[:80]
    slug = request.GET.get("slug", "")[:200].strip().lower()
    if name and not slug:
        slug = _first_free(proposals.propose(name))
        if not slug:
            return JsonResponse({"slug": "", "available": False, "message": "", "suggestions": []})
    answer: dict[str, Any] = {"slug": slug, "available": True, "suggestions": []}
    try:
        signups.check_slug(slug)
        answer["message"] = _("This address is free.")
    except FieldError as error:
        answer |= {"available": False, "code": error.code, "message": str(error.message)}
        answer["suggestions"] = _suggestions(slug)
    return JsonResponse(answer)


def _page(
    request: HttpRequest, errors: dict[str, str], *, status: int | None = None
) -> HttpResponse:
    posted = request.POST
    slug = posted.get("slug", "")
    plans = price_list.public_plans()
    chosen = posted.get("plan") or (plans[0].slug if plans else "")
    language = posted.get("language") or (get_language() or "en")[:2]
    context = {
        "errors": errors,
        "has_login": status == EmailTakenError.status and "email" in errors,
        "given": {**posted.dict(), "plan": chosen, "language": language, "slug": slug.lower()},
        "suggestions": _suggestions(slug.lower()) if "slug" in errors and slug else [],
        "plans": plans,
        "form_token": posted.get("form_token") or new_token(),
        "is_open": (takes := overview.takes_new_shops())
        and not (full := shortages.is_full(signups.DEFAULT_APP)),
        "is_full": takes and full,
        "address_before": member_shops.address("{}").partition("{}")[0].rpartition("/")[2],
        "address_after": member_shops.address("{}").partition("{}")[2],
        "slug_least": signups.SLUG_MIN,
        "slug_most": signups.SLUG_MAX,
    }
    return render(request, "signup/landing.html", context, status=status)


def _errors(form: SignUpFields) -> dict[str, str]:
    return {field: str(errors[0]) for field, errors in form.errors.items()}


def _sent_before(request: HttpRequest) -> Operation | None:
    """Return the operation that this very form has led to already, if the sender may follow it.

    A double click may throw the first answer and its session away, so the password is looked at.
    """
    token = request.POST.get("form_token", "")
    slug = request.POST.get("slug", "").strip().lower()
    known = submissions.posted_before(slug, token=token) if token and slug else None
    if known is None:
        return None
    member = visitors.member_of(request)
    if member is None:
        email, password = request.POST.get("email", ""), request.POST.get("password", "")
        this_try = access_brakes.log_in(request, email)
        member = authenticate(request, username=email, password=password)
        if not isinstance(member, Member):
            this_try.failed()
        elif known.requested_by_id == member.pk:
            this_try.succeeded()
            _log_in(request, member)
    return known if member is not None and known.requested_by_id == member.pk else None


def _log_in(request: HttpRequest, member: Member) -> None:
    login(request, member, backend="django.contrib.auth.backends.ModelBackend")


def _suggestions(slug: str) -> list[str]:
    return _free(proposals.variations(slug))[:SUGGESTIONS]


def _first_free(proposal: str) -> str:
    if not proposal:
        return ""
    free = _free([proposal, *proposals.variations(proposal)])
    return free[0] if free else proposal


def _free(candidates: list[str]) -> list[str]:
    fit = [
        slug
        for slug in candidates
        if len(slug) >= signups.SLUG_MIN and slug not in RESERVED_SLUGS and slug[:4] != "xn--"
    ]
    taken = member_shops.taken_among(fit)
    return [slug for slug in fit if slug not in taken]
