"""A member's shops: all of them, one of them, its first login, and removing it."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tenants.accounts.models import Member
from tenants.activity import event_queries
from tenants.errors import FieldError, TenantsError, TooManyTriesError
from tenants.http import access_brakes, visitors
from tenants.shops import first_logins, member_shops, missing_queries, removals
from tenants.shops.models import Tenant
from tenants.snapshots import due, marks, snapshot_queries
from tenants.states import TenantState
from tenants.transfers import missing_data as missing
from tenants.transfers import restores
from tenants.usage import usage_queries

NEWEST_SNAPSHOTS = 12


@require_GET
@visitors.for_members
def my_shops(request: HttpRequest, member: Member) -> HttpResponse:
    """All shops of the member."""
    mine = [(tenant, member_shops.address(tenant.slug)) for tenant in member_shops.of(member)[:200]]
    return render(request, "console/shops.html", {"shops": mine})


@require_GET
@visitors.for_members
def shop(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """One shop: where it is, how it is, what was done lately."""
    tenant = _mine(member, slug)
    more = {
        "events": event_queries.told_to(tenant),
        "usage": usage_queries.of(tenant),
        "snapshots": list(snapshot_queries.of(tenant)[:NEWEST_SNAPSHOTS]),
        "schedule": snapshot_queries.schedule_of(tenant),
        "missing": missing_queries.of(tenant),
    }
    return render(request, "console/shop.html", _context(tenant) | more)


@require_POST
@visitors.for_members
def first_login(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """Show the first-login secret, once and never again."""
    tenant = _mine(member, slug)
    if tenant.state != TenantState.LIVE:
        raise Http404
    access_brakes.reveal(tenant.public_id)
    context = {
        "tenant": tenant,
        "secret": first_logins.reveal(tenant),
        "admin_address": member_shops.admin_address(tenant.slug),
        "address": member_shops.address(tenant.slug),
    }
    part = "console/_secret.html" if visitors.is_fragment(request) else "console/first_login.html"
    return render(request, part, context)


@require_http_methods(["GET", "POST"])
@visitors.for_members
def remove(request: HttpRequest, member: Member, slug: str) -> HttpResponseBase:
    """Ask for the shop's name, then remove it."""
    tenant = _mine(member, slug)
    if request.method != "POST":
        return render(request, "console/remove.html", _context(tenant))
    typed = request.POST.get("typed", "").strip()
    if typed not in {tenant.slug, tenant.shop_name}:
        words = _("Type “%(name)s” to remove this shop.") % {"name": tenant.slug}
        context = {**_context(tenant), "error": words, "typed": typed}
        return render(request, "console/remove.html", context, status=400)
    try:
        operation = removals.request(tenant, requested_by=member)
    except TenantsError:
        messages.info(request, _("This shop was removed already."))
        return redirect("console:shops")
    return redirect("signup:operation", operation.public_id)


@require_POST
@visitors.for_members
def take_snapshot(request: HttpRequest, member: Member, slug: str) -> HttpResponseBase:
    """Have a copy of the shop's data made now."""
    tenant = _mine(member, slug)
    try:
        access_brakes.snapshot(tenant.public_id)
        due.ask(tenant)
    except TooManyTriesError:
        messages.info(request, _("You have asked for many copies. Please try again in an hour."))
    except TenantsError:
        messages.info(request, _("A copy can be made once your shop runs."))
    else:
        messages.success(request, _("A copy of your data is being made. It takes a few seconds."))
    return redirect("console:shop", slug)


@require_POST
@visitors.for_members
def accept_snapshots(request: HttpRequest, member: Member, slug: str) -> HttpResponseBase:
    """Note that the shop's data is right, although its last copies are in doubt."""
    if marks.accept(_mine(member, slug)):
        messages.success(request, _("Thank you. The newest copies count again."))
    return redirect("console:shop", slug)


@require_http_methods(["GET", "POST"])
@visitors.for_members
def restore(request: HttpRequest, member: Member, slug: str, snapshot_id: str) -> HttpResponseBase:
    """Ask for the shop's name, then take its data back to an earlier state."""
    tenant = _mine(member, slug)
    snapshot = snapshot_queries.of_id(tenant, snapshot_id)
    if snapshot is None:
        raise Http404
    context = {**_context(tenant), "snapshot": snapshot}
    if request.method != "POST":
        return render(request, "console/restore.html", context)
    typed = request.POST.get("typed", "").strip()
    if typed not in {tenant.slug, tenant.shop_name}:
        words = _("Type “%(name)s” to go back to this copy.") % {"name": tenant.slug}
        again = {**context, "error": words, "typed": typed}
        return render(request, "console/restore.html", again, status=400)
    try:
        operation = restores.request(tenant, snapshot, requested_by=member)
    except TenantsError:
        return _busy(request, slug)
    return redirect("signup:operation", operation.public_id)


@require_http_methods(["GET", "POST"])
@visitors.for_members
def missing_data(request: HttpRequest, member: Member, slug: str) -> HttpResponseBase:
    """Let the merchant choose what a shop whose data is missing continues from."""
    tenant = _mine(member, slug)
    found = missing_queries.of(tenant)
    if found is None:
        return redirect("console:shop", slug)
    context = {**_context(tenant), "missing": found}
    if request.method != "POST":
        return render(request, "console/data.html", context)
    try:
        operation = missing.choose(
            tenant,
            request.POST.get("choice", ""),
            snapshot=snapshot_queries.of_id(tenant, request.POST.get("snapshot", "")),
            typed=request.POST.get("typed", "").strip(),
            requested_by=member,
        )
    except FieldError as error:
        words = _("Type “%(name)s” to begin empty.") % {"name": tenant.slug}
        problem = words if error.field == "confirm" else _("Choose one of these.")
        return render(request, "console/data.html", {**context, "error": problem}, status=400)
    except TenantsError:
        return _busy(request, slug)
    return redirect("signup:operation", operation.public_id)


def _busy(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Go back to the shop's page, which says why nothing was done."""
    words = _("That is not possible right now, because another operation on your shop is running.")
    messages.info(request, words)
    return redirect("console:shop", slug)


def _mine(member: Member, slug: str) -> Tenant:
    tenant = member_shops.of(member).filter(slug=slug).first()
    if tenant is None:
        raise Http404
    return tenant


def _context(tenant: Tenant) -> dict[str, object]:
    is_live = tenant.state == TenantState.LIVE
    return {
        "tenant": tenant,
        "address": member_shops.address(tenant.slug),
        "admin_address": member_shops.admin_address(tenant.slug),
        "is_live": is_live,
        "is_open": is_live and not getattr(tenant, "is_without_data", False),
        "is_leaving": tenant.state == TenantState.REMOVING,
        "operations": member_shops.operations_of(tenant),
        "open_operation": member_shops.open_operation_of(tenant),
        "first_login_waits": is_live and member_shops.first_login_waits(tenant),
    }
