"""What every page of the merchant's side has around it: the menu, and that no cache keeps it."""

from __future__ import annotations

from . import auth
from .layout import admin_page
from .messages import Response


def menu(who: auth.Merchant, section: str) -> str:
    """Return the links of the merchant's menu; only out, until the first secret has been changed."""
    visit = who.visit
    places = (
        ()
        if who.must_change
        else (("orders", ""), ("products", "/products"), ("password", "/password"))
    )
    links = "".join(
        f'<a href="/admin{path}"{_current(name == section)}>{visit.say(name)}</a>'
        for name, path in places
    )
    return (
        f'<div class="menu"><div class="in"><nav aria-label="{visit.say("merchant_menu")}">{links}</nav>'
        f'<form method="post" action="/admin/logout">{who.ticket}'
        f'<button class="button plain">{visit.say("log_out")}</button></form></div></div>'
    )


def _current(here: bool) -> str:
    return ' aria-current="page"' if here else ""


def answer(who: auth.Merchant, title: str, body: str, section: str, status: int = 200) -> Response:
    """A page for the merchant; kept in no cache."""
    html = admin_page(who.visit, title, body, menu=menu(who, section))
    return who.visit.answer(html, status, private=True)
