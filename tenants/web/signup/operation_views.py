"""One operation as its merchant follows it: live steps, the result, trying again, stopping."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from tenants.accounts.models import Member
from tenants.errors import TenantsError
from tenants.http import visitors
from tenants.operations import operations, progress
from tenants.operations.models import Operation
from tenants.operations.progress import OperationProgress
from tenants.shops import member_shops, repeats


@require_GET
@visitors.for_members
def show(request: HttpRequest, member: Member, public_id: str) -> HttpResponse:
    """The whole page; it follows the operation by itself (static/stoa.js), or reloads without script."""
    operation = _mine(member, public_id)
    progress = _progress(public_id)
    tenant = operation.tenant
    context = {
        "operation": operation,
        "progress": progress,
        "now": timezone.now(),
        "tenant": tenant,
        "address": member_shops.address(tenant.slug),
        "admin_address": member_shops.admin_address(tenant.slug),
        "first_login_waits": progress.has_succeeded and member_shops.first_login_waits(tenant),
    }
    return render(request, "signup/operation.html", context)


@require_GET
@visitors.for_members
def steps(request: HttpRequest, member: Member, public_id: str) -> HttpResponse:
    """The steps alone, for pages whose event stream does not come through."""
    _mine(member, public_id)
    context = {"progress": _progress(public_id), "now": timezone.now()}
    return render(request, "signup/_progress.html", context)


@require_POST
@visitors.for_members
def retry(request: HttpRequest, member: Member, public_id: str) -> HttpResponseBase:
    """Try a failed operation again."""
    try:
        repeats.retry(_mine(member, public_id), is_operator=False)
    except TenantsError:
        messages.info(request, _("This cannot be tried again. Its present state is shown here."))
    return redirect("signup:operation", public_id)


@require_POST
@visitors.for_members
def cancel(request: HttpRequest, member: Member, public_id: str) -> HttpResponseBase:
    """Ask an open operation to stop."""
    try:
        operations.cancel(_mine(member, public_id), is_operator=False)
    except TenantsError:
        sentence = _("It could not be stopped. It has ended, or must finish what it has begun.")
        messages.info(request, sentence)
    return redirect("signup:operation", public_id)


def _mine(member: Member, public_id: str) -> Operation:
    operation = progress.of(member).filter(public_id=public_id).first()
    if operation is None:
        raise Http404
    return operation


def _progress(public_id: str) -> OperationProgress:
    found = progress.progress_of([public_id]).get(public_id)
    if found is None:
        raise Http404
    return found
