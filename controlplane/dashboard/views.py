"""What operators see: the pool, hosts, tenants, operations. Reading only; actions.py changes things."""

from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from controlplane.dashboard.access import for_operators
from tenants.accounts.models import Member
from tenants.activity import event_queries
from tenants.http import visitors
from tenants.operations import operations as operation_services
from tenants.operations import progress
from tenants.pool import outlook
from tenants.pool import overview as pool
from tenants.shops import directory, member_shops, missing_queries
from tenants.snapshots import snapshot_queries
from tenants.states import EventKind, OperationState, TenantState

NEWEST_EVENTS = 6  # on the overview
NEWEST_SNAPSHOTS = 12


@require_GET
@for_operators
def overview(request: HttpRequest, operator: Member) -> HttpResponse:
    """Everything that tells within two seconds what is not in order."""
    now = timezone.now()
    hosts = pool.hosts(now)
    context = {
        "section": "overview",
        "now": now,
        "figures": pool.figures(now),
        "hosts": hosts,
        "hosts_heard": sum(view.is_heard for view in hosts),
        "edges": pool.edges(now),
        "forecast": outlook.forecast(days=1),
        "operations": directory.operations(),
        "switches": pool.switches(),
        "alarms": pool.open_alarms(),
        "copies": snapshot_queries.ages(),
        "events": event_queries.page(size=NEWEST_EVENTS),
    }
    part = (
        "dashboard/_overview.html" if visitors.is_fragment(request) else "dashboard/overview.html"
    )
    return render(request, part, context)


@require_GET
@for_operators
def host(request: HttpRequest, operator: Member, name: str) -> HttpResponse:
    """One host: its room, and what it holds in order of ports."""
    view = pool.host(name, timezone.now())
    if view is None:
        raise Http404
    after = request.GET.get("after", "")
    placements, next_port = pool.placements_on(
        view.host, after=int(after) if after.isdecimal() and len(after) <= 5 else 0
    )
    usage_at, usage = pool.last_usage_on(view.host)
    rows = [(placement, usage.get(placement.instance.public_id)) for placement in placements]
    context = {
        "section": "overview",
        "view": view,
        "rows": rows,
        "next_port": next_port,
        "usage_at": usage_at,
        "events": event_queries.on(view.host),
        "turns": pool.turns_of(view.host),
        "alarms": pool.alarms_of(view.host),
    }
    return render(request, "dashboard/host.html", context)


@require_GET
@for_operators
def tenants(request: HttpRequest, operator: Member) -> HttpResponse:
    """All tenants: ?q= searches slugs and owners, ?state= filters, ?after= goes on."""
    search, state = request.GET.get("q", "").strip()[:254], request.GET.get("state", "")
    page = directory.tenants(search=search, state=state, after=request.GET.get("after", ""))
    more = urlencode({"q": search, "state": state, "after": page.next_key})
    context = {
        "section": "tenants",
        "page": page,
        "search": search,
        "state": state,
        "states": TenantState.choices,
        "more": more if page.next_key else "",
        "is_first": not request.GET.get("after"),
    }
    part = "dashboard/_tenants.html" if visitors.is_fragment(request) else "dashboard/tenants.html"
    return render(request, part, context)


@require_GET
@for_operators
def tenant(request: HttpRequest, operator: Member, public_id: str) -> HttpResponse:
    """One tenant: who owns it, what runs where and why, and everything that happened to it."""
    found = directory.tenant(public_id)
    if found is None:
        raise Http404
    context = {
        "section": "tenants",
        "tenant": found,
        "address": member_shops.address(found.slug),
        "operations": directory.operations_of(found),
        "transitions": directory.transitions_of(found),
        "decisions": directory.decisions_of(found),
        "events": event_queries.told_to(found, newest=20),
        "snapshots": snapshot_queries.of(found)[:NEWEST_SNAPSHOTS],
        "schedule": snapshot_queries.schedule_of(found),
        "missing": missing_queries.of(found),
    }
    return render(request, "dashboard/tenant.html", context)


@require_GET
@for_operators
def operations(request: HttpRequest, operator: Member) -> HttpResponse:
    """The latest operations, all or those in one state."""
    state = request.GET.get("state", "")
    context = {
        "section": "operations",
        "state": state,
        "states": OperationState.choices,
        "operations": directory.operations(state=state, newest=100),
    }
    return render(request, "dashboard/operations.html", context)


@require_GET
@for_operators
def operation(request: HttpRequest, operator: Member, public_id: str) -> HttpResponse:
    """One operation with every step, attempt and reason."""
    found = directory.operation(public_id)
    if found is None:
        raise Http404
    context = {
        "section": "operations",
        "operation": found,
        "may_be_tried_again": progress.may_be_tried_again(found),
        "may_be_stopped": operation_services.may_be_cancelled(found),
        "now": timezone.now(),
        "transitions": directory.transitions_of_operation(found),
    }
    return render(request, "dashboard/operation.html", context)


@require_GET
@for_operators
def events(request: HttpRequest, operator: Member) -> HttpResponse:
    """List the events of shops: ?kind= and ?open=yes filter, ?after= goes on."""
    kind, only_open = request.GET.get("kind", ""), request.GET.get("open") == "yes"
    page = event_queries.page(kind=kind, only_open=only_open, after=request.GET.get("after", ""))
    wanted = {"kind": kind, "open": "yes" if only_open else "", "after": page.next_key}
    context = {
        "section": "events",
        "page": page,
        "kind": kind,
        "only_open": only_open,
        "kinds": EventKind.choices,
        "more": urlencode(wanted) if page.next_key else "",
    }
    return render(request, "dashboard/events.html", context)
