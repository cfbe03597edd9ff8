"""What operators do from their pages: try an operation again, stop it, freeze and let go."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from controlplane.dashboard.access import for_operators
from tenants.accounts.models import Member
from tenants.core import freezes
from tenants.core.models import FreezeSwitch
from tenants.errors import FieldError, TenantsError
from tenants.http import labels, reasons
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.pool import overview
from tenants.shops import directory, missing_queries, repeats
from tenants.snapshots import snapshot_queries
from tenants.transfers import missing_data as missing
from tenants.transfers import restores


@require_POST
@for_operators
def retry(request: HttpRequest, operator: Member, public_id: str) -> HttpResponseBase:
    """Open a failed operation again."""
    try:
        repeats.retry(_operation(public_id), is_operator=True)
    except TenantsError as error:
        messages.info(request, reasons.refusal(error))
    return redirect("dashboard:operation", public_id)


@require_POST
@for_operators
def cancel(request: HttpRequest, operator: Member, public_id: str) -> HttpResponseBase:
    """Ask an open operation to stop."""
    try:
        operations.cancel(_operation(public_id), is_operator=True)
    except TenantsError as error:
        messages.info(request, reasons.refusal(error))
    return redirect("dashboard:operation", public_id)


@require_http_methods(["GET", "POST"])
@for_operators
def switch(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Freeze one kind of work, with a reason, or let it go on; asks before it does either."""
    found = next((switch for switch in overview.switches() if switch.name == name), None)
    if found is None:
        raise Http404
    if request.method != "POST":
        return _switch_page(request, found)
    wanted = request.POST.get("is_on")
    if wanted not in {"yes", "no"}:
        return _switch_page(request, found, error=_("Say whether to freeze or to let go."))
    reason = request.POST.get("reason", "")
    try:
        freezes.set_switch(name, is_on=wanted == "yes", reason=reason, changed_by=operator.email)
    except FieldError:
        return _switch_page(request, found, error=_("Say why, so that the next operator knows."))
    words = _("%(name)s: frozen.") if wanted == "yes" else _("%(name)s: goes on.")
    messages.success(request, words % {"name": labels.switch(name)[0]})
    return redirect("dashboard:overview")


@require_http_methods(["GET", "POST"])
@for_operators
def restore(
    request: HttpRequest, operator: Member, public_id: str, snapshot_id: str
) -> HttpResponseBase:
    """Ask for the shop's name, then take its data back to an earlier state."""
    tenant = directory.tenant(public_id)
    snapshot = snapshot_queries.of_id(tenant, snapshot_id) if tenant else None
    if tenant is None or snapshot is None:
        raise Http404
    context = {"section": "tenants", "tenant": tenant, "snapshot": snapshot}
    typed = request.POST.get("typed", "").strip()
    if request.method != "POST":
        return render(request, "dashboard/restore.html", context)
    if typed != tenant.slug:
        words = _("Type “%(name)s” to go back to this copy.") % {"name": tenant.slug}
        again = {**context, "error": words, "typed": typed}
        return render(request, "dashboard/restore.html", again, status=400)
    try:
        operation = restores.request(tenant, snapshot, requested_by=operator)
    except TenantsError as error:
        messages.info(request, reasons.refusal(error))
        return redirect("dashboard:tenant", public_id)
    return redirect("dashboard:operation", operation.public_id)


@require_http_methods(["GET", "POST"])
@for_operators
def missing_data(request: HttpRequest, operator: Member, public_id: str) -> HttpResponseBase:
    """Let an operator choose what a shop whose data is missing continues from."""
    tenant = directory.tenant(public_id)
    if tenant is None:
        raise Http404
    found = missing_queries.of(tenant)
    if found is None:
        return redirect("dashboard:tenant", public_id)
    context = {"section": "tenants", "tenant": tenant, "missing": found}
    if request.method != "POST":
        return render(request, "dashboard/data.html", context)
    try:
        operation = missing.choose(
            tenant,
            request.POST.get("choice", ""),
            snapshot=snapshot_queries.of_id(tenant, request.POST.get("snapshot", "")),
            typed=request.POST.get("typed", "").strip(),
            requested_by=operator,
        )
    except FieldError as error:
        again = {**context, "error": reasons.refusal(error)}
        return render(request, "dashboard/data.html", again, status=400)
    except TenantsError as error:
        messages.info(request, reasons.refusal(error))
        return redirect("dashboard:tenant", public_id)
    return redirect("dashboard:operation", operation.public_id)


def _switch_page(request: HttpRequest, found: FreezeSwitch, *, error: str = "") -> HttpResponseBase:
    context = {"section": "overview", "switch": found, "error": error}
    return render(request, "dashboard/switch.html", context, status=400 if error else 200)


def _operation(public_id: str) -> Operation:
    found = directory.operation(public_id)
    if found is None:
        raise Http404
    return found
