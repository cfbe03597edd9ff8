"""Emptying a host from the operator's pages: looked at first, begun, watched, stopped."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from controlplane.dashboard.access import for_operators
from tenants.accounts.models import Member
from tenants.errors import TenantsError
from tenants.http import reasons, visitors
from tenants.pool import drain_progress, drains, fitting, overview
from tenants.pool.models import Host
from tenants.states import DrainState, HostState


@require_http_methods(["GET", "POST"])
@for_operators
def drain(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Before it begins: whether the others have room. From then on: how far it has come."""
    host = _host(name)
    if request.method == "POST":
        try:
            drains.request(host, requested_by=operator)
        except TenantsError as error:
            messages.error(request, reasons.refusal(error))
        return redirect("dashboard:drain", name)
    now = timezone.now()
    latest = drain_progress.latest(host)
    is_running = latest is not None and latest.state == DrainState.RUNNING
    view = overview.host(name, now)
    context = {
        "section": "overview",
        "host": host,
        "view": view,
        "progress": drain_progress.progress(latest, now) if latest else None,
        "is_running": is_running,
        "may_begin": host.state in (HostState.OPEN, HostState.CORDONED),
        "fit": None if is_running else fitting.look(host),
    }
    part = "dashboard/_drain.html" if visitors.is_fragment(request) else "dashboard/drain.html"
    return render(request, part, context)


@require_POST
@for_operators
def undrain(request: HttpRequest, operator: Member, name: str) -> HttpResponseBase:
    """Stop it; what has moved stays where it is."""
    found = drains.open_drain(_host(name))
    try:
        if found is not None:
            drains.cancel(found, cancelled_by=operator)
            sentence = (
                _("%(name)s is not drained any more. It stays closed to new shops, as before.")
                if found.was_cordoned
                else _("%(name)s takes new shops again.")
            )
            messages.success(request, sentence % {"name": name})
    except TenantsError as error:
        messages.info(request, reasons.refusal(error))
    return redirect("dashboard:drain", name)


def _host(name: str) -> Host:
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise Http404
    return host
