"""How states, amounts, money and times are written on every page; one way each."""

from datetime import UTC, datetime

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from runtime.units import bytes_text, cores_text
from tenants.activity.models import InstanceEvent
from tenants.catalogue.models import Plan
from tenants.http import labels, reasons
from tenants.operations.models import Operation, Step
from tenants.operations.progress import OperationProgress
from tenants.shops.models import Tenant
from tenants.states import (
    EventKind,
    HostHealth,
    HostState,
    InstanceState,
    OperationState,
    StepState,
    TenantState,
    Verb,
)

register = template.Library()
register.simple_tag(labels.step, name="step_label")
register.filter("waiting_text", labels.waiting)
register.filter("bytes_text", bytes_text)
register.filter("cores", cores_text)
register.filter("event_advice", labels.event_advice)
register.filter("reason_label", reasons.label)

_KINDS = {
    "tenant": TenantState,
    "instance": InstanceState,
    "operation": OperationState,
    "step": StepState,
    "host": HostState,
    "health": HostHealth,
}
_NO_MINOR_UNIT = {"JPY", "KRW"}
_SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}


@register.simple_tag
def badge(state: str, kind: str = "tenant") -> SafeString:
    """Return a state as a shape, a word and a tone: never colour alone."""
    tone, shape = labels.tone(state), labels.shape(state)
    word: labels.Text = _KINDS[kind](state).label
    if kind == "operation" and state == OperationState.RUNNING:
        tone, shape, word = "busy", "◐", labels.OPERATION_RUNNING
    if kind == "operation" and state == OperationState.FAILED:
        tone, shape = "bad", "▲"
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>', tone, shape, word
    )


@register.simple_tag
def shop_badge(tenant: Tenant) -> SafeString:
    """Return the state of a shop; of a live one that gives no answer, or whose data is missing, that.

    Needs event_queries.with_silence.
    """
    if tenant.state == TenantState.LIVE and getattr(tenant, "is_without_data", False):
        return badge(InstanceState.DATA_MISSING, "instance")
    if tenant.state == TenantState.LIVE and getattr(tenant, "is_silent", False):
        tone, shape = labels.event_mark(EventKind.NOT_ANSWERING, is_open=True)
        return mark(tone, shape, str(EventKind.NOT_ANSWERING.label))
    return badge(tenant.state)


@register.simple_tag
def mark(tone: str, shape: str, word: str) -> SafeString:
    """Return a badge with words of its own."""
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>', tone, shape, word
    )


@register.simple_tag
def ago(at: datetime | None) -> SafeString | str:
    """Return a time as people say it; the script puts the exact time of the reader's zone on hover."""
    if at is None:
        return "–"
    exact = formats.date_format(at, "DATETIME_FORMAT")
    return format_html(
        '<time datetime="{}" title="{} UTC" data-ago>{}</time>',
        at.isoformat(timespec="milliseconds"),
        exact,
        span(max(0.0, (timezone.now() - at).total_seconds()), ago=True),
    )


@register.filter
def age(seconds: float | None) -> str:
    """Return how old something is: 3 s, 5 min, 2 h, 4 d."""
    return "–" if seconds is None else span(seconds, ago=False)


def span(seconds: float, *, ago: bool) -> str:
    """Return seconds in the largest unit that fits."""
    count = int(seconds)
    if ago and count < 10:
        return _("just now")
    for unit, (plain, past) in {
        86400: ("%d d", ngettext("%d day ago", "%d days ago", count // 86400)),
        3600: ("%d h", ngettext("%d hour ago", "%d hours ago", count // 3600)),
        60: ("%d min", ngettext("%d minute ago", "%d minutes ago", count // 60)),
    }.items():
        if count >= unit:
            return (past if ago else plain) % (count // unit)
    return (ngettext("%d second ago", "%d seconds ago", count) if ago else "%d s") % count


@register.filter
def seconds(value: float | None) -> str:
    """Return a duration with a tenth below ten seconds: 40 ms, 0.4 s, 12 s, 2 min 5 s."""
    if value is None:
        return ""
    if value < 0.095:
        return f"{1000 * value:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


@register.simple_tag
def elapsed(since: datetime | None, now: datetime) -> SafeString | str:
    """Return seconds that go on counting on the page."""
    if since is None:
        return ""
    value = max(0.0, (now - since).total_seconds())
    return format_html('<span data-elapsed="{}">{}</span>', f"{value:.1f}", seconds(value))


@register.simple_tag
def took(operation: Operation) -> str:
    """Return how long an ended operation took from being asked for."""
    if operation.finished_at is None:
        return ""
    return seconds((operation.finished_at - operation.created_at).total_seconds())


@register.simple_tag
def step_seconds(step: Step) -> str:
    """Return how long an ended step took."""
    if step.started_at is None or step.finished_at is None:
        return ""
    return seconds(max(0.0, (step.finished_at - step.started_at).total_seconds()))


@register.filter
def without_scheme(address: str) -> str:
    """Return an address as people say it: acme.example, not http://acme.example."""
    return address.partition("://")[2] or address


@register.filter
def grouped(count: int) -> str:
    """Return a count with its thousands apart: 188,003."""
    return f"{count:,}"


@register.filter
def percent(share: float | None) -> str:
    """Return a share of one as whole percent."""
    return "–" if share is None else f"{100 * share:.0f} %"


@register.filter
def price(plan: Plan) -> str:
    """Return what the plan costs a month."""
    if plan.price_minor == 0:
        return _("Free")
    amount = (
        f"{plan.price_minor:,}"
        if plan.currency in _NO_MINOR_UNIT
        else f"{plan.price_minor / 100:,.2f}".removesuffix(".00")
    )
    sign = _SIGNS.get(plan.currency)
    return f"{sign}{amount}" if sign else f"{amount} {plan.currency}"


@register.filter
def plan_name(plan: Plan) -> str:
    """Return the plan's name in the reader's language."""
    return plan.name_ja if _is_japanese() else plan.name_en


@register.filter
def plan_summary(plan: Plan) -> str:
    """Return the plan's summary in the reader's language."""
    return plan.summary_ja if _is_japanese() else plan.summary_en


def _is_japanese() -> bool:
    return (get_language() or "").startswith("ja")


@register.simple_tag
def failure_text(operation: OperationProgress | Operation) -> labels.Text:
    """Return why an operation failed, in plain words."""
    return labels.failure(
        operation.verb, operation.error_code, operation.state, phase=operation.phase
    )


@register.simple_tag
def headline(operation: OperationProgress | Operation) -> labels.Text:
    """Return what is going on with an operation."""
    return labels.headline(operation.verb, operation.state, operation.error_code)


@register.filter
def verb_label(verb: str) -> str:
    """Return a verb as people read it."""
    return str(Verb(verb).label)


@register.filter
def switch_name(name: str) -> labels.Text:
    """Return a freeze switch's name."""
    return labels.switch(name)[0]


@register.filter
def switch_effect(name: str) -> labels.Text:
    """Return what a freeze switch stops while it is on."""
    return labels.switch(name)[1]


@register.simple_tag
def event_badge(event: InstanceEvent) -> SafeString:
    """Show an event with a shape and a tone that say whether it goes on."""
    tone, shape = labels.event_mark(event.kind, is_open=event.ended_at is None)
    return mark(tone, shape, str(EventKind(event.kind).label))


@register.filter
def moment_of(text: object) -> str:
    """Return the moment that an event's details name, to the second; UTC."""
    try:
        return f"{datetime.fromisoformat(str(text)).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return "–"


@register.filter
def amount_of(value: int, resource: str) -> str:
    """Return an amount of a plan's resource, with its unit."""
    if resource != "cpu_millis":
        return bytes_text(value)
    words = ngettext("%(count)s core", "%(count)s cores", 1 if value <= 1000 else 2)
    return words % {"count": cores_text(value)}


@register.simple_tag
def sparkline(values: tuple[int, ...]) -> SafeString:
    """Return the points of a polyline in a box 120 wide and 24 high; flat when nothing happened."""
    top = max(*values, 1)
    step = 120 / max(1, len(values) - 1)
    points = " ".join(
        f"{index * step:.1f},{22 - 20 * value / top:.1f}" for index, value in enumerate(values)
    )
    return format_html(
        '<svg class="spark" viewBox="0 0 120 24" preserveAspectRatio="none" aria-hidden="true">'
        '<polyline points="{}"/></svg>',
        points,
    )
