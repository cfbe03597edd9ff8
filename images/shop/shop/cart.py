"""The cart's page, and every change to it."""

from __future__ import annotations

from . import catalogue
from .catalogue import Product
from .forms import escape
from .layout import notice, page
from .messages import HttpError, Response
from .pictures import picture
from .visit import MOST_EACH, Visit


def show(visit: Visit) -> Response:
    """Show what is in the cart now, at today's prices."""
    found = contents(visit)
    if not found:
        body = (
            f'<div class="empty"><h1>{visit.say("cart_empty")}</h1><p>{visit.say("cart_empty_help")}</p>'
            f'<p><a class="button" href="/">{visit.say("to_shelf")}</a></p></div>'
        )
        return visit.answer(page(visit, visit.say("cart"), body, section="cart"))
    short = any(product.at_most(quantity) < quantity for product, quantity in found)
    rows = "".join(_row(visit, product, quantity) for product, quantity in found)
    total = sum(product.price * quantity for product, quantity in found)
    onward = (
        notice(visit.say("cart_short"), "wrong")
        if short
        else f'<p><a class="button big" href="/checkout">{visit.say("to_checkout")}</a></p>'
    )
    body = (
        f'<h1>{visit.say("cart")}</h1><ul class="rows">{rows}</ul>'
        f'<p class="total"><span>{visit.say("total")}</span> <strong>{visit.money(total)}</strong></p>'
        f'{onward}<p class="back"><a href="/">← {visit.say("go_on_shopping")}</a></p>'
    )
    return visit.answer(page(visit, visit.say("cart"), body, section="cart"))


def change(visit: Visit) -> Response:
    """Add to the cart, or set how many of a product are in it."""
    fields = visit.form()
    product = catalogue.find(visit.shop.store, fields.get("product", ""))
    if product is None or not product.shown:
        raise HttpError(404)
    text = fields.get("quantity", "1").strip()
    if not (text.isdecimal() and len(text) <= 4):
        raise HttpError(400, "quantity")
    quantity = int(text)
    if fields.get("do") == "add":
        quantity += visit.cart.get(product.id, 0)
        visit.put_in_cart(product.id, product.at_most(min(quantity, MOST_EACH)))
        return visit.send_to(f"/products/{product.id}?added")
    visit.put_in_cart(product.id, product.at_most(quantity))
    return visit.send_to("/cart")


def contents(visit: Visit) -> list[tuple[Product, int]]:
    """The products in the cart that still are on the shelf, and how many of each."""
    found = (
        (catalogue.find(visit.shop.store, number), count) for number, count in visit.cart.items()
    )
    return [(product, count) for product, count in found if product is not None and product.shown]


def _row(visit: Visit, product: Product, quantity: int) -> str:
    name = escape(product.name)
    hidden = f'{visit.ticket}<input type="hidden" name="product" value="{product.id}">'
    most = product.at_most(MOST_EACH)
    warning = ""
    if most < quantity:
        warning = f'<p class="error">{visit.say("only_left", count=most)}</p>'
    return (
        f'<li class="row"><div class="frame small">{picture(product.picture, product.id)}</div>'
        f'<div class="what"><h2><a href="/products/{product.id}">{name}</a></h2>'
        f'<p class="each">{visit.money(product.price)}</p>{warning}'
        f'<div class="set"><form method="post" action="/cart">{hidden}'
        f'<label class="hidden" for="q{product.id}">{visit.say("quantity_of", name=product.name)}</label>'
        f'<input id="q{product.id}" name="quantity" type="number" inputmode="numeric" min="0" '
        f'max="{most}" value="{quantity}"><button class="button quiet">{visit.say("change")}</button></form>'
        f'<form method="post" action="/cart">{hidden}<input type="hidden" name="quantity" value="0">'
        f'<button class="button plain" aria-label="{visit.say("remove_name", name=product.name)}">'
        f"{visit.say('remove')}</button></form></div></div>"
        f'<p class="sum">{visit.money(product.price * quantity)}</p></li>'
    )
