"""What operators do to hosts from their pages: cordon, describe, take out, forget, and let machines join."""

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from controlplane.dashboard.access import for_operators
from controlplane.dashboard.host_forms import HostForm, JoinTokenForm
from tenants.accounts.models import Member
from tenants.errors import FieldError, TenantsError
from tenants.http import reasons
from tenants.pool import hosts, join_queries, joins, overview
from tenants.pool.models import Host


@require_POST
@for_operators
def cordon(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Place no new shops there."""
    return _state_changed(request, _host(name), is_open=False, by=operator.email)


@require_POST
@for_operators
def uncordon(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Place shops there again."""
    return _state_changed(request, _host(name), is_open=True, by=operator.email)


def _state_changed(request: HttpRequest, host: Host, *, is_open: bool, by: str) -> HttpResponseBase:
    try:
        if is_open:
            hosts.uncordon(host, by=by)
            messages.success(request, _("%(name)s takes new shops again.") % {"name": host.name})
        else:
            hosts.cordon(host, by=by)
            messages.success(
                request,
                _("%(name)s gets no new shops; what runs there goes on.") % {"name": host.name},
            )
    except TenantsError as error:
        messages.info(request, reasons.refusal(error))
    return redirect("dashboard:host", host.name)


@require_http_methods(["GET", "POST"])
@for_operators
def edit(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Zone, engine, labels, and what is kept back for the host itself."""
    host = _host(name)
    form = HostForm(request.POST or None, initial=HostForm.of(host))
    if request.method == "POST" and form.is_valid():
        try:
            hosts.edit(host, **form.changes())
        except FieldError as error:
            form.add_error(
                error.field if error.field in form.fields else None, reasons.refusal(error)
            )
        else:
            messages.success(request, _("%(name)s: changed.") % {"name": host.name})
            return redirect("dashboard:host", host.name)
    context = {"section": "overview", "host": host, "form": form}
    status = 400 if form.errors else 200
    return render(request, "dashboard/host_edit.html", context, status=status)


@require_http_methods(["GET", "POST"])
@for_operators
def remove(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Take an empty host out; asks before."""
    return _taken_out(request, operator, name, kind="remove")


@require_http_methods(["GET", "POST"])
@for_operators
def lost(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Do not wait for a host that does not answer; its name has to be typed."""
    return _taken_out(request, operator, name, kind="lost")


@require_http_methods(["GET", "POST"])
@for_operators
def forget(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Give a lost host up; its name has to be typed."""
    return _taken_out(request, operator, name, kind="forget")


def _taken_out(request: HttpRequest, operator: Member, name: str, *, kind: str) -> HttpResponseBase:
    view = overview.host(name, timezone.now())
    if view is None:
        raise Http404
    error = ""
    if request.method == "POST":
        error = _refused(view.host, kind, request.POST.get("confirm", "").strip(), operator.email)
        if not error:
            if kind == "lost":
                messages.success(
                    request, _("%(name)s: its shops come back elsewhere.") % {"name": name}
                )
                return redirect("dashboard:host", name)
            messages.success(request, _("%(name)s is out of the pool.") % {"name": name})
            return redirect("dashboard:overview")
    context = {"section": "overview", "view": view, "kind": kind, "error": error}
    return render(request, "dashboard/host_out.html", context, status=400 if error else 200)


def _refused(host: Host, kind: str, confirm: str, by: str) -> str:
    """Do it; why it was not done, "" when it was."""
    if confirm != host.name:
        return _("Type the host's name to confirm.")
    try:
        if kind == "remove":
            hosts.remove(host, by=by)
        elif kind == "lost":
            hosts.declare_lost(host, confirm=confirm, by=by)
        else:
            hosts.forget(host, confirm=confirm, by=by)
    except TenantsError as refused:
        return str(refused.message)
    return ""


@require_http_methods(["GET", "POST"])
@for_operators
def join_tokens(request: HttpRequest, operator: Member) -> HttpResponseBase:
    """Make a join token, show its command once, and list what became of earlier tokens."""
    form = JoinTokenForm(request.POST or None)
    command, expires_at = "", None
    address, ca_sha256 = join_queries.address(), join_queries.ca_sha256()
    if request.method == "POST" and address and ca_sha256 and form.is_valid():
        try:
            made = joins.create(
                created_by=operator.email,
                ca_sha256=ca_sha256,
                zone=form.cleaned_data["zone"],
                labels=form.cleaned_data["labels"],
                lifetime=timedelta(hours=int(form.cleaned_data["hours"])),
            )
        except FieldError as error:
            form.add_error(
                error.field if error.field in form.fields else None, reasons.refusal(error)
            )
        else:
            command, expires_at = join_queries.command(made.text), made.token.expires_at
    context = {
        "section": "overview",
        "form": form,
        "address": address,
        "command": command,
        "expires_at": expires_at,
        "tokens": [(row, join_queries.state(row)) for row in join_queries.tokens()],
    }
    status = 400 if form.errors else 200
    return render(request, "dashboard/join_tokens.html", context, status=status)


@require_POST
@for_operators
def revoke_join_token(request: HttpRequest, operator: Member, key_id: str) -> HttpResponseBase:
    """Make an unused token useless."""
    token = join_queries.token(key_id)
    if token is None:
        raise Http404
    joins.revoke(token)
    messages.success(request, _("The token %(id)s is revoked.") % {"id": key_id})
    return redirect("dashboard:join_tokens")


def _host(name: str) -> Host:
    view = overview.host(name, timezone.now())
    if view is None:
        raise Http404
    return view.host
