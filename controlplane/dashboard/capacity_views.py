"""The operator's pages about room: how full the pool is, where it goes, and why a shop is where it is."""

from dataclasses import dataclass, replace

import numpy as np
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from controlplane.dashboard.access import for_operators
from tenants.accounts.models import Member
from tenants.errors import FieldError
from tenants.http import reasons
from tenants.placement import bookings, placements
from tenants.pool import outlook
from tenants.shops import directory
from tenants.shops.models import Instance
from tenants.states import InstanceState
from tenants.transfers import rebalances
from tenants.transfers.models import RebalancePlan, RebalanceSetting
from workers import scheduler
from workers.pool import mapping, reader
from workers.scheduler import Verdict
from workers.scheduler.demand_vector import as_load

SHOWN_VERDICTS = 100
CHART_WIDTH, CHART_HEIGHT, LABEL_HEIGHT = 600, 160, 15.0


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart: what it stands for, its points in the chart's box, the share at its end, and
    where its label stands."""

    kind: str
    points: str
    share: float
    label_y: float


@require_GET
@for_operators
def room(request: HttpRequest, operator: Member) -> HttpResponse:
    """Show how full the pool is, how many hosts it needs, what was decided and what would be moved."""
    outcome = request.GET.get("outcome", "")
    forecast = outlook.forecast()
    context = {
        "section": "room",
        "room": outlook.room(),
        "forecast": forecast,
        "lines": lines(forecast),
        "outcome": outcome,
        "decisions": outlook.decisions(outcome=outcome),
        "setting": rebalances.setting(),
        "modes": RebalanceSetting.Mode.values,
        "plans": outlook.plans(),
    }
    return render(request, "dashboard/room.html", context)


@require_GET
@for_operators
def why(request: HttpRequest, operator: Member, public_id: str) -> HttpResponse:
    """Every host, as the scheduler sees it for this tenant's instance now: ?q= searches host names."""
    tenant = directory.tenant(public_id)
    if tenant is None:
        raise Http404
    instance = tenant.instances.exclude(state=InstanceState.RETIRED).first()
    if instance is None:
        raise Http404
    here, verdicts = _verdicts(instance)
    search = request.GET.get("q", "").strip()[:32]
    found = [verdict for verdict in verdicts if search in verdict.host_name]
    context = {
        "section": "tenants",
        "tenant": tenant,
        "here": here,
        "search": search,
        "verdicts": found[:SHOWN_VERDICTS],
        "hidden": max(0, len(found) - SHOWN_VERDICTS),
        "with_room": sum(verdict.rank > 0 for verdict in verdicts),
        "hosts": len(verdicts),
    }
    return render(request, "dashboard/why.html", context)


@require_POST
@for_operators
def set_rebalancing(request: HttpRequest, operator: Member) -> HttpResponseBase:
    """Say whether moves are planned, proposed or carried out, and how many at most."""
    budget = request.POST.get("budget", "")
    try:
        rebalances.change_setting(
            mode=request.POST.get("mode", ""),
            budget=int(budget) if budget.isdecimal() and len(budget) < 6 else 0,
            changed_by=operator.email,
        )
    except FieldError as error:
        messages.info(request, reasons.refusal(error))
    else:
        messages.success(request, _("Kept."))
    return redirect("dashboard:room")


@require_POST
@for_operators
def carry_out(request: HttpRequest, operator: Member, pk: int) -> HttpResponseBase:
    """Ask for a plan's moves now."""
    plan = RebalancePlan.objects.filter(pk=pk).first()
    if plan is None:
        raise Http404
    asked = rebalances.carry_out(plan, requested_by=operator)
    words = ngettext("%(count)s move asked for.", "%(count)s moves asked for.", asked)
    messages.success(request, words % {"count": asked})
    return redirect("dashboard:room")


def lines(forecast: outlook.Forecast) -> list[ChartLine]:
    """Return the booked share of each resource by day, as points of the chart; [] for less than two days."""
    days = forecast.days
    if len(days) < 2:
        return []
    first, span = days[0].day, max(1, (days[-1].day - days[0].day).days)
    found: list[ChartLine] = []
    for kind in ("cpu", "memory", "disk"):
        shares = [min(1.0, getattr(day, f"{kind}_share")) for day in days]
        xs = [CHART_WIDTH * (day.day - first).days / span for day in days]
        ys = [CHART_HEIGHT * (1 - share) for share in shares]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        found.append(ChartLine(kind, points, shares[-1], ys[-1]))
    return _apart(found)


def _apart(found: list[ChartLine]) -> list[ChartLine]:
    """Labels beside the ends of their lines, none on another."""
    placed: list[ChartLine] = []
    floor = CHART_HEIGHT + 4.0
    for line in sorted(found, key=lambda line: -line.label_y):
        at = min(line.label_y + 4.0, floor)
        placed.append(replace(line, label_y=round(at, 1)))
        floor = at - LABEL_HEIGHT
    return placed


def _verdicts(instance: Instance) -> tuple[str, tuple[Verdict, ...]]:
    """Return where the instance is ("" for nowhere), and the scheduler's verdict on every host now.

    What it takes itself where it is counts as free, or its own host would be too full for it.
    """
    pool = reader.read()
    placement = placements.open_placement(instance)
    if placement is None:
        booking = bookings.cold_booking(instance.release, instance.tenant.plan)
        return "", scheduler.explain(mapping.view_of(instance, booking), pool)
    view = mapping.view_of(instance, placements.booking_of(placement))
    load = pool.load.copy(order="K")
    load[np.flatnonzero(pool.ids == placement.host_id)] -= as_load(view.demand)
    return placement.host.name, scheduler.explain(view, replace(pool, load=load))
