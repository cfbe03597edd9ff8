"""The shelf and the product pages."""

# ruff: noqa: E501 - markup reads best unbroken

from __future__ import annotations

from . import catalogue
from .catalogue import Product
from .forms import escape
from .layout import notice, page, page_number, pager
from .messages import HttpError, Response
from .pictures import banner, picture
from .visit import MOST_EACH, Visit

ON_A_PAGE = 24
FEW = 5  # from here on down, say how many are left


def home(visit: Visit) -> Response:
    """Everything on the shelf."""
    number = page_number(visit)
    found = catalogue.shelf(visit.shop.store, (number - 1) * ON_A_PAGE, ON_A_PAGE + 1)
    shown, more = found[:ON_A_PAGE], len(found) > ON_A_PAGE
    if not shown and number > 1:
        raise HttpError(404)
    cards = "".join(_card(visit, product) for product in shown)
    if cards:
        shelf = f'<h2 class="shelf-title">{visit.say("on_the_shelf")}</h2><ul class="shelf">{cards}</ul>'
    else:
        shelf = f'<div class="empty"><h2>{visit.say("shelf_empty")}</h2><p>{visit.say("come_back")}</p></div>'
    hero = (
        f'<section class="hero"><div><h1>{escape(visit.shop.config.name)}</h1>'
        f"<p>{visit.say('welcome')}</p></div>{banner()}</section>"
        if number == 1
        else ""
    )
    return visit.answer(page(visit, "", hero + shelf + pager(visit, "/", number, more), wide=True))


def product(visit: Visit, number: str) -> Response:
    """One product, with the form that puts it into the cart."""
    found = catalogue.find(visit.shop.store, number)
    if found is None or not found.shown:
        raise HttpError(404)
    in_cart = visit.cart.get(found.id, 0)
    told = ""
    if in_cart and "added" in visit.request.query:
        told = notice(
            f'{visit.say("added", count=in_cart)} <a href="/cart">{visit.say("to_cart")}</a>',
            "done",
        )
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in found.description.split("\n") if line)
    body = (
        f'{told}<p class="back"><a href="/">← {visit.say("all_products")}</a></p>'
        f'<article class="product"><div class="frame">{picture(found.picture, found.id)}</div>'
        f'<div class="about"><h1>{escape(found.name)}</h1>'
        f'<p class="price">{visit.money(found.price)}</p>{_left(visit, found)}'
        f"{_buy(visit, found, in_cart)}"
        f'<div class="story">{paragraphs}</div></div></article>'
    )
    return visit.answer(page(visit, found.name, body, wide=True))


def _card(visit: Visit, product: Product) -> str:
    return (
        f'<li><a class="card" href="/products/{product.id}">'
        f'<div class="frame">{picture(product.picture, product.id)}</div>'
        f'<h3>{escape(product.name)}</h3><p class="price">{visit.money(product.price)}</p>'
        f"{_left(visit, product)}</a></li>"
    )


def _left(visit: Visit, product: Product) -> str:
    """A word on the stock, only where it matters."""
    if product.sold_out:
        return f'<p class="left out">{visit.say("sold_out")}</p>'
    if product.stock is not None and product.stock <= FEW:
        return f'<p class="left">{visit.say("few_left", count=product.stock)}</p>'
    return ""


def _buy(visit: Visit, product: Product, in_cart: int) -> str:
    room = product.at_most(MOST_EACH) - in_cart
    if product.sold_out:
        return f'<p class="help">{visit.say("sold_out_help")}</p>'
    if room <= 0:
        return (
            f'<p class="help">{visit.say("all_in_cart")}</p>'
            f'<p><a class="button" href="/cart">{visit.say("to_cart")}</a></p>'
        )
    return (
        f'<form class="buy" method="post" action="/cart">{visit.ticket}'
        f'<input type="hidden" name="do" value="add"><input type="hidden" name="product" value="{product.id}">'
        f'<div class="field"><label for="quantity">{visit.say("quantity")}</label>'
        f'<input id="quantity" name="quantity" type="number" inputmode="numeric" min="1" max="{room}" value="1">'
        f'</div><button class="button">{visit.say("add_to_cart")}</button></form>'
    )
