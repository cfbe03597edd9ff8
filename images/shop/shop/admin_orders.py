"""The merchant's orders: what came in, to whom it goes, and how far it is."""

# ruff: noqa: E501 - markup reads best unbroken

from __future__ import annotations

from time import gmtime, time

from . import orders
from .admin_frame import answer
from .auth import Merchant
from .checkout import summary
from .forms import escape
from .layout import notice, page_number, pager
from .messages import HttpError, Response

ON_A_PAGE = 30
_SHAPES = {"new": "◐", "paid": "●", "shipped": "✓", "cancelled": "×"}


def overview(who: Merchant) -> Response:
    """Orders, the newest first, and how many wait for what."""
    visit, store = who.visit, who.visit.shop.store
    number = page_number(visit)
    found = orders.latest(store, (number - 1) * ON_A_PAGE, ON_A_PAGE + 1)
    told = notice(visit.say("password_saved")) if "password" in visit.request.query else ""
    if not found and number == 1:
        body = (
            f'{told}<div class="empty"><h1>{visit.say("no_orders")}</h1><p>{visit.say("no_orders_help")}</p>'
            f'<p><a class="button" href="/admin/products">{visit.say("to_products")}</a></p></div>'
        )
        return answer(who, visit.say("orders"), body, "orders")
    rows = "".join(_row(who, order) for order in found[:ON_A_PAGE])
    body = (
        f'{told}<h1>{visit.say("orders")}</h1>{_figures(who)}<ul class="list">{rows}</ul>'
        f"{pager(visit, '/admin', number, len(found) > ON_A_PAGE)}"
    )
    return answer(who, visit.say("orders"), body, "orders")


def show(who: Merchant, number: str) -> Response:
    """One order, with the buttons that carry it on."""
    visit = who.visit
    order = orders.numbered(visit.shop.store, number)
    if order is None:
        raise HttpError(404)
    note = ""
    if order.note:
        note = f'<h2>{visit.say("field_note")}</h2><p class="address">{_lines(order.note)}</p>'
    email = escape(order.email)
    told = notice(visit.say("order_moved_on"), "wrong") if "late" in visit.request.query else ""
    body = (
        f'<p class="back"><a href="/admin">← {visit.say("orders")}</a></p>{told}'
        f'<h1>{visit.say("order", number=order.id)}</h1><section class="sheet">'
        f'<dl class="facts"><div><dt>{visit.say("state")}</dt><dd>{badge(who, order.state)}</dd></div>'
        f"<div><dt>{visit.say('ordered')}</dt><dd>{moment(who, order.made_at)}</dd></div></dl>"
        f"{summary(visit, order)}{_buttons(who, order)}</section>"
        f'<section class="sheet"><h2>{visit.say("sent_to")}</h2>'
        f'<p class="address">{escape(order.name)}<br>{_lines(order.address)}</p>'
        f'<h2>{visit.say("field_email")}</h2><p class="address"><a href="mailto:{email}">{email}</a></p>{note}'
        "</section>"
    )
    return answer(who, visit.say("order", number=order.id), body, "orders")


def move(who: Merchant, number: str) -> Response:
    """Carry an order to its next state, if it has not gone elsewhere meanwhile."""
    fields = who.form()
    order = orders.numbered(who.visit.shop.store, number)
    if order is None:
        raise HttpError(404)
    moved = orders.move(who.visit.shop.store, order, fields.get("state", ""))
    return who.visit.send_to(f"/admin/orders/{order.id}{'' if moved else '?late'}")


def badge(who: Merchant, state: str) -> str:
    """A state in a word, a shape and a colour."""
    return f'<span class="badge {state}">{_SHAPES[state]} {who.visit.say("state_" + state)}</span>'


def moment(who: Merchant, at: int) -> str:
    """Return how long ago, with the exact time behind it."""
    t = gmtime(at)
    exact = f"{t.tm_year}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}Z"
    minutes = max(0, int(time()) - at) // 60
    if minutes < 1:
        words = who.visit.say("just_now")
    elif minutes < 60:
        words = who.visit.say("minutes_ago", count=minutes)
    elif minutes < 48 * 60:
        words = who.visit.say("hours_ago", count=minutes // 60)
    else:
        words = who.visit.say("days_ago", count=minutes // 1440)
    return f'<time datetime="{exact}" title="{exact[:10]} {exact[11:16]} UTC">{words}</time>'


def _figures(who: Merchant) -> str:
    counted = orders.counts(who.visit.shop.store)
    items = "".join(
        f"<div><dt>{who.visit.say('count_' + state)}</dt><dd>{counted.get(state, 0)}</dd></div>"
        for state in ("new", "paid", "shipped")
    )
    return f'<dl class="figures">{items}</dl>'


def _row(who: Merchant, order: orders.Order) -> str:
    return (
        f'<li><a class="line" href="/admin/orders/{order.id}"><span class="number">{order.id}</span>'
        f'<span class="who">{escape(order.name)}<br>{moment(who, order.made_at)}</span>'
        f"{badge(who, order.state)}"
        f'<span class="sum">{who.visit.money(order.total, order.currency)}</span></a></li>'
    )


def _buttons(who: Merchant, order: orders.Order) -> str:
    forms = "".join(
        f'<form method="post" action="/admin/orders/{order.id}">{who.ticket}'
        f'<input type="hidden" name="state" value="{state}">'
        f'<button class="button{" danger" if state == "cancelled" else ""}">'
        f"{who.visit.say('make_' + state)}</button></form>"
        for state in orders.NEXT[order.state]
    )
    return f'<div class="actions">{forms}</div>' if forms else ""


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.split("\n"))
