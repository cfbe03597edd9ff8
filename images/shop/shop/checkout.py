"""From the cart to a recorded order, and the page that confirms it."""

# ruff: noqa: E501 - markup reads best unbroken

from __future__ import annotations

from . import orders, sign
from .cart import contents
from .forms import escape, many_lines, one_line
from .layout import field, notice, page
from .messages import HttpError, Response
from .visit import Visit

_LENGTH = {"name": 100, "email": 200, "address": 400, "note": 500}


def ask(visit: Visit) -> Response:
    """The form for whom and where to."""
    if not contents(visit):
        return visit.send_to("/cart")
    return visit.answer(_form(visit, {"try": sign.token(9)}, {}), private=True)


def order(visit: Visit) -> Response:
    """Record the order, unless something is missing; the same form twice makes one order."""
    fields = visit.form()
    attempt = fields.get("try", "")[:40]
    # Known before anything is stored, so that a second press finds the first one's order.
    token = sign.mark(visit.shop.store.key, "order", f"{visit.visitor}.{attempt}")
    if orders.find_order(visit.shop.store, token) is not None:
        return visit.send_to(f"/orders/{token}")
    given = {
        "try": attempt or sign.token(9),
        "name": one_line(fields.get("name", ""), _LENGTH["name"]),
        "email": one_line(fields.get("email", ""), _LENGTH["email"]),
        "address": many_lines(fields.get("address", ""), _LENGTH["address"]),
        "note": many_lines(fields.get("note", ""), _LENGTH["note"]),
    }
    wrong = _wrong(visit, given)
    found = contents(visit)
    if not found:
        return visit.send_to("/cart")
    if wrong or not attempt:
        return visit.answer(_form(visit, given, wrong), 400 if wrong else 200, private=True)
    buyer = (given["name"], given["email"], given["address"], given["note"])
    items = {product.id: quantity for product, quantity in found}
    try:
        orders.place(visit.shop.store, token, items, buyer, visit.shop.config.currency)
    except orders.OutOfStockError:
        return visit.send_to("/cart")  # which says what is short
    except orders.TooManyOrdersError as error:
        raise HttpError(503) from error
    visit.empty_cart()
    return visit.send_to(f"/orders/{token}")


def confirmation(visit: Visit, token: str) -> Response:
    """Show what was ordered, to anyone who has the address of this page."""
    placed = orders.find_order(visit.shop.store, token)
    if placed is None:
        raise HttpError(404)
    address = "<br>".join(escape(line) for line in (placed.name, *placed.address.split("\n")))
    body = (
        f'<div class="thanks"><h1>{visit.say("thanks")}</h1>'
        f"<p>{visit.say('thanks_help', email=placed.email)}</p></div>"
        f'<section class="sheet"><dl class="facts"><div><dt>{visit.say("order_number")}</dt>'
        f'<dd class="number">{placed.id}</dd></div><div><dt>{visit.say("state")}</dt>'
        f"<dd>{visit.say('state_' + placed.state)}</dd></div></dl>"
        f'{summary(visit, placed)}<h2>{visit.say("sent_to")}</h2><p class="address">{address}</p></section>'
        f'<p class="back"><a href="/">← {visit.say("go_on_shopping")}</a></p>'
    )
    return visit.answer(page(visit, visit.say("thanks"), body), private=True)


def summary(visit: Visit, placed: orders.Order) -> str:
    """The lines of an order and their sum."""
    rows = "".join(
        f'<li><span>{escape(line.name)} <span class="times">× {line.quantity}</span></span>'
        f"<span>{visit.money(line.price * line.quantity, placed.currency)}</span></li>"
        for line in orders.lines(visit.shop.store, placed)
    )
    return f'<ul class="bill">{rows}</ul>{_total(visit, placed.total, placed.currency)}'


def _total(visit: Visit, amount: int, currency: str = "") -> str:
    return (
        f'<p class="total"><span>{visit.say("total")}</span> '
        f"<strong>{visit.money(amount, currency)}</strong></p>"
    )


def _wrong(visit: Visit, given: dict[str, str]) -> dict[str, str]:
    """Return what is wrong with which field, in words for the buyer."""
    wrong = {
        name: visit.say("too_long", most=most)
        for name, most in _LENGTH.items()
        if len(given[name]) > most
    }
    for name in ("name", "address"):
        if not given[name]:
            wrong[name] = visit.say(f"missing_{name}")
    if not _is_email(given["email"]):
        wrong["email"] = visit.say("wrong_email")
    return wrong


def _is_email(text: str) -> bool:
    """One @, something before it, and a domain with a dot after it. Only a letter sent proves more."""
    local, at, domain = text.partition("@")
    return bool(
        at and local and "." in domain.strip(".") and domain == domain.strip(".-")
        and ".." not in text and not any(sign in text for sign in " ,;<>()[]\"\\") and "@" not in domain
    )  # fmt: skip


def _form(visit: Visit, given: dict[str, str], wrong: dict[str, str]) -> str:
    def ask_for(
        name: str, attributes: str, rows: int = 0, optional: str = "", help_text: str = ""
    ) -> str:
        return field(
            name, visit.say(f"field_{name}"), given.get(name, ""), error=wrong.get(name, ""),
            attributes=f'{attributes} maxlength="{_LENGTH[name]}"', rows=rows, optional=optional,
            help_text=help_text,
        )  # fmt: skip

    found = contents(visit)
    rows = "".join(
        f'<li><span>{escape(product.name)} <span class="times">× {quantity}</span></span>'
        f"<span>{visit.money(product.price * quantity)}</span></li>"
        for product, quantity in found
    )
    total = sum(product.price * quantity for product, quantity in found)
    told = notice(visit.say("look_at_fields"), "wrong") if wrong else ""
    body = (
        f'<h1>{visit.say("checkout")}</h1>{told}<div class="halves">'
        f'<form class="stack" method="post" action="/checkout">{visit.ticket}'
        f'<input type="hidden" name="try" value="{escape(given["try"])}">'
        f"{ask_for('name', 'required autocomplete=name')}"
        f"{ask_for('email', 'type=email required autocomplete=email inputmode=email', 0, '', visit.say('help_email'))}"
        f"{ask_for('address', 'required autocomplete=street-address', 3, '', visit.say('help_address'))}"
        f"{ask_for('note', '', 2, visit.say('optional'))}"
        f'<p class="help">{visit.say("pay_help")}</p>'
        f'<button class="button big">{visit.say("place_order")}</button></form>'
        f'<aside class="sheet"><h2>{visit.say("your_order")}</h2><ul class="bill">{rows}</ul>'
        f'{_total(visit, total)}<p><a href="/cart">{visit.say("change_cart")}</a></p></aside></div>'
    )
    return page(visit, visit.say("checkout"), body)
