"""The merchant's products: add, change, take out."""

# ruff: noqa: E501 - markup reads best unbroken

from __future__ import annotations

from . import catalogue
from .admin_frame import answer
from .auth import Merchant
from .catalogue import Product
from .forms import escape, many_lines, one_line
from .layout import field, notice, page_number, pager
from .messages import HttpError, Response
from .money import digits, plain
from .money import read as read_money
from .pictures import NAMES, picture

ON_A_PAGE = 50
_LENGTH = {"name": 80, "description": 4000}


def overview(who: Merchant) -> Response:
    """Every product, shown or not."""
    visit = who.visit
    number = page_number(visit)
    found = catalogue.everything(visit.shop.store, (number - 1) * ON_A_PAGE, ON_A_PAGE + 1)
    rows = "".join(_row(who, product) for product in found[:ON_A_PAGE])
    told = notice(visit.say("saved")) if "saved" in visit.request.query else ""
    told = notice(visit.say("removed")) if "removed" in visit.request.query else told
    add_button = f'<a class="button" href="/admin/products/new">{visit.say("add_product")}</a>'
    if not rows:
        body = (
            f'{told}<div class="empty"><h1>{visit.say("no_products")}</h1><p>{add_button}</p></div>'
        )
    else:
        body = (
            f'{told}<div class="headline"><h1>{visit.say("products")}</h1>{add_button}</div>'
            f'<ul class="list">{rows}</ul>'
            f"{pager(visit, '/admin/products', number, len(found) > ON_A_PAGE)}"
        )
    return answer(who, visit.say("products"), body, "products")


def ask_new(who: Merchant) -> Response:
    """An empty form."""
    given = {
        "picture": NAMES[0],
        "shown": "1",
        "name": "",
        "description": "",
        "price": "",
        "stock": "",
    }
    return _form(who, None, given, {})


def add(who: Merchant) -> Response:
    """Put a new product on the shelf."""
    fields = who.form()
    if catalogue.size(who.visit.shop.store) >= catalogue.MOST_PRODUCTS:
        raise HttpError(503)
    return _keep(who, None, fields)


def ask(who: Merchant, number: str) -> Response:
    """The form with what is known of a product."""
    product = _find(who, number)
    given = {
        "name": product.name,
        "description": product.description,
        "price": plain(product.price, who.visit.shop.config.currency),
        "stock": "" if product.stock is None else str(product.stock),
        "picture": product.picture,
        "shown": "1" if product.shown else "",
    }
    return _form(who, product, given, {})


def change(who: Merchant, number: str) -> Response:
    """Keep what was changed."""
    fields = who.form()
    return _keep(who, _find(who, number), fields)


def ask_remove(who: Merchant, number: str) -> Response:
    """Make sure before something is lost."""
    product = _find(who, number)
    visit = who.visit
    title = visit.say("remove_question", name=product.name)
    body = (
        f'<div class="narrow"><h1>{title}</h1><p>{visit.say("remove_help")}</p>'
        f'<form class="actions" method="post" action="/admin/products/{product.id}/remove">{who.ticket}'
        f'<button class="button danger">{visit.say("remove")}</button>'
        f'<a class="button quiet" href="/admin/products/{product.id}">{visit.say("keep_it")}</a></form></div>'
    )
    return answer(who, visit.say("remove"), body, "products")


def remove(who: Merchant, number: str) -> Response:
    """Take a product out; orders keep what they say."""
    who.form()
    product = _find(who, number)
    catalogue.remove(who.visit.shop.store, product.id)
    return who.visit.send_to("/admin/products?removed")


def _find(who: Merchant, number: str) -> Product:
    product = catalogue.find(who.visit.shop.store, number)
    if product is None:
        raise HttpError(404)
    return product


def _keep(who: Merchant, product: Product | None, fields: dict[str, str]) -> Response:
    given = {
        "name": one_line(fields.get("name", ""), _LENGTH["name"]),
        "description": many_lines(fields.get("description", ""), _LENGTH["description"]),
        "price": fields.get("price", "").strip()[:20],
        "stock": fields.get("stock", "").strip()[:20],
        "picture": fields.get("picture", ""),
        "shown": fields.get("shown", ""),
    }
    price = read_money(given["price"], who.visit.shop.config.currency)
    wrong = _wrong(who, given, price)
    if wrong:
        return _form(who, product, given, wrong)
    stock = int(given["stock"]) if given["stock"] else None
    values = (
        given["name"],
        given["description"],
        price,
        stock,
        given["picture"],
        int(bool(given["shown"])),
    )
    catalogue.put(who.visit.shop.store, product.id if product else None, values)
    return who.visit.send_to("/admin/products?saved")


def _wrong(who: Merchant, given: dict[str, str], price: int | None) -> dict[str, str]:
    visit = who.visit
    wrong = {
        name: visit.say("too_long", most=most)
        for name, most in _LENGTH.items()
        if len(given[name]) > most
    }
    if not given["name"]:
        wrong["name"] = visit.say("missing_product_name")
    if price is None:
        example = plain(1250, visit.shop.config.currency)
        wrong["price"] = visit.say("wrong_price", example=example)
    stock = given["stock"]
    if stock and not (stock.isdecimal() and int(stock) <= catalogue.MOST_STOCK):
        wrong["stock"] = visit.say("wrong_stock", most=catalogue.MOST_STOCK)
    if given["picture"] not in NAMES:
        wrong["picture"] = visit.say("wrong_picture")
    return wrong


def _form(
    who: Merchant, product: Product | None, given: dict[str, str], wrong: dict[str, str]
) -> Response:
    visit = who.visit
    currency = visit.shop.config.currency
    mode = "decimal" if digits(currency) else "numeric"
    title = product.name if product else visit.say("add_product")
    told = notice(visit.say("look_at_fields"), "wrong") if wrong else ""
    name = field(
        "name", visit.say("product_name"), given["name"], error=wrong.get("name", ""),
        attributes=f'required maxlength="{_LENGTH["name"]}"',
    )  # fmt: skip
    description = field(
        "description", visit.say("description"), given["description"], error=wrong.get("description", ""),
        attributes=f'maxlength="{_LENGTH["description"]}"', rows=5, optional=visit.say("optional"),
    )  # fmt: skip
    price = field(
        "price", visit.say("price_in", currency=currency), given["price"], error=wrong.get("price", ""),
        attributes=f'required inputmode="{mode}" autocomplete="off"',
    )  # fmt: skip
    stock = field(
        "stock", visit.say("stock"), given["stock"], error=wrong.get("stock", ""),
        help_text=visit.say("stock_help"), attributes='inputmode="numeric" autocomplete="off"',
        optional=visit.say("optional"),
    )  # fmt: skip
    where = f"/admin/products/{product.id if product else 'new'}"
    removal = ""
    if product:
        removal = (
            f'<p><a class="danger-link" href="{where}/remove">{visit.say("remove_product")}</a></p>'
        )
    body = (
        f'<div class="narrow"><p class="back"><a href="/admin/products">← {visit.say("products")}</a></p>'
        f"<h1>{escape(title)}</h1>{told}"
        f'<form class="stack" method="post" action="{where}">{who.ticket}{name}'
        f'<div class="pair">{price}{stock}</div>{_pictures(who, given["picture"])}{description}'
        f'<label class="check"><input type="checkbox" name="shown" value="1"'
        f"{' checked' if given['shown'] else ''}> {visit.say('show_on_shelf')}</label>"
        f'<button class="button big">{visit.say("save")}</button></form>{removal}</div>'
    )
    return answer(who, visit.say("products"), body, "products", 400 if wrong else 200)


def _pictures(who: Merchant, chosen: str) -> str:
    options = "".join(
        f'<label><input type="radio" name="picture" value="{name}"{" checked" if name == chosen else ""}>'
        f'<span class="frame">{picture(name, place)}</span>'
        f'<span class="hidden">{who.visit.say("picture_" + name)}</span></label>'
        for place, name in enumerate(NAMES, start=1)
    )
    return f'<fieldset class="pictures"><legend>{who.visit.say("picture")}</legend><div>{options}</div></fieldset>'


def _row(who: Merchant, product: Product) -> str:
    visit = who.visit
    if not product.shown:
        state = f'<span class="badge cancelled">{visit.say("hidden")}</span>'
    elif product.sold_out:
        state = f'<span class="badge new">▲ {visit.say("sold_out")}</span>'
    elif product.stock is None:
        state = ""
    else:
        state = f'<span class="stock">{visit.say("in_stock", count=product.stock)}</span>'
    return (
        f'<li><a class="line" href="/admin/products/{product.id}">'
        f'<span class="frame tiny">{picture(product.picture, product.id)}</span>'
        f'<span class="who">{escape(product.name)}</span>{state}'
        f'<span class="sum">{visit.money(product.price)}</span></a></li>'
    )
