"""A member's shops: all of them, one of them, its first login, and removing it."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tenants import access_brakes, web
from tenants.errors import FieldError, TenantsError, TooManyTriesError
from tenants.models import Member, Tenant
from tenants.queries import events, shops, snapshots, usage
from tenants.queries import missing as missing_queries
from tenants.services import first_logins, marks, missing, removals, restores, snapshot_rounds
from tenants.states import TenantState

NEWEST_SNAPSHOTS = 12


@require_GET
@web.for_members
def my_shops(request: HttpRequest, member: Member) -> HttpResponse:
    """All shops of the member."""
    mine = [(tenant, shops.address(tenant.slug)) for tenant in shops.of(member)[:200]]
    return render(request, "console/shops.html", {"shops": mine})


@require_GET
@web.for_members
def shop(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """One shop: where it is, how it is, what was done lately."""
    tenant = _mine(member, slug)
    more = {
        "events": events.told_to(tenant),
        "usage": usage.of(tenant),
        "snapshots": list(snapshots.of(tenant)[:NEWEST_SNAPSHOTS]),
        "schedule": snapshots.schedule_of(tenant),
        "missing": missing_queries.of(tenant),
    }
    return render(request, "console/shop.html", _context(tenant) | more)


@require_POST
@web.for_members
def first_login(request: HttpRequest, member: Member, slug: str) -> HttpResponse:
    """Show the first-login secret, once and never again."""
    tenant = _mine(member, slug)
    if tenant.state != TenantState.LIVE:
        raise Http404
    access_brakes.reveal(tenant.public_id)
    context = {
        "tenant": tenant,
        "secret": first_logins.reveal(tenant),
        "admin_address": shops.admin_address(tenant.slug),
        "address": shops.address(tenant.slug),
    }
    part = "console/_secret.html" if web.is_fragment(request) else "console/first_login.html"
    return render(request, part, context)


@require_http_methods(["GET", "POST"])
@web.for_members
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
@web.for_members
def take_snapshot(request: HttpRequest, member: Member, slug: str) -> HttpResponseBase:
    """Have a copy of the shop's data made now."""
    tenant = _mine(member, slug)
    try:
        access_brakes.snapshot(tenant.public_id)
        snapshot_rounds.ask(tenant)
    except TooManyTriesError:
        messages.info(request, _("You have asked for many copies. Please try again in an hour."))
    except TenantsError:
        messages.info(request, _("A copy can be made once your shop runs."))
    else:
        messages.success(request, _("A copy of your data is being made. It takes a few seconds."))
    return redirect("console:shop", slug)


@require_POST
@web.for_members
def accept_snapshots(request: HttpRequest, member: Member, slug: str) -> HttpResponseBase:
    """Note that the shop's data is right, although its last copies are in doubt."""
    if marks.accept(_mine(member, slug)):
        messages.success(request, _("Thank you. The newest copies count again."))
    return redirect("console:shop", slug)


@require_http_methods(["GET", "POST"])
@web.for_members
def restore(request: HttpRequest, member: Member, slug: str, snapshot_id: str) -> HttpResponseBase:
    """Ask for the shop's name, then take its data back to an earlier state."""
    tenant = _mine(member, slug)
    snapshot = snapshots.of_id(tenant, snapshot_id)
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
        messages.info(
            request,
            _("That is not possible right now, because another operation on your shop is running."),
        )
        return redirect("console:shop", slug)
    return redirect("signup:operation", operation.public_id)


@require_http_methods(["GET", "POST"])
@web.for_members
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
            snapshot=snapshots.of_id(tenant, request.POST.get("snapshot", "")),
            typed=request.POST.get("typed", "").strip(),
            requested_by=member,
        )
    except FieldError as error:
        words = _("Type “%(name)s” to begin empty.") % {"name": tenant.slug}
        told = words if error.field == "confirm" else _("Choose one of these.")
        return render(request, "console/data.html", {**context, "error": told}, status=400)
    except TenantsError:
        messages.info(
            request,
            _("That is not possible right now, because another operation on your shop is running."),
        )
        return redirect("console:shop", slug)
    return redirect("signup:operation", operation.public_id)


def _mine(member: Member, slug: str) -> Tenant:
    tenant = shops.of(member).filter(slug=slug).first()
    if tenant is None:
        raise Http404
    return tenant


def _context(tenant: Tenant) -> dict[str, object]:
    is_live = tenant.state == TenantState.LIVE
    return {
        "tenant": tenant,
        "address": shops.address(tenant.slug),
        "admin_address": shops.admin_address(tenant.slug),
        "is_live": is_live,
        "is_open": is_live and not getattr(tenant, "is_without_data", False),
        "is_leaving": tenant.state == TenantState.REMOVING,
        "operations": shops.operations_of(tenant),
        "open_operation": shops.open_operation_of(tenant),
        "first_login_waits": is_live and shops.first_login_waits(tenant),
    }
