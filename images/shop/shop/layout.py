"""The frame around every page, and the small parts pages share."""

# ruff: noqa: E501 - markup reads best unbroken

from __future__ import annotations

import posix

from . import sign
from .forms import escape, percent_encode
from .visit import Visit

_HERE = __file__.rpartition("/")[0]
_OTHER = {"en": ("ja", "日本語"), "ja": ("en", "English")}
_MARK = (
    '<svg class="mark" viewBox="0 0 24 24" width="28" height="28" aria-hidden="true">'
    '<path d="M3 21V11a9 9 0 0 1 18 0v10h-4V11a5 5 0 0 0-10 0v10z" fill="currentColor"/></svg>'
)
_style_address = ""


def asset(name: str) -> bytes:
    """A file that lies beside the program."""
    handle = posix.open(f"{_HERE}/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(handle, 1 << 18)
    finally:
        posix.close(handle)


def style_address() -> str:
    """The style sheet's address, which changes with its content so that browsers may keep it."""
    global _style_address
    if not _style_address:
        _style_address = f"/style.css?v={sign.digest(asset('style.css')).hex()[:10]}"
    return _style_address


def page(visit: Visit, title: str, body: str, *, wide: bool = False, section: str = "") -> str:
    """A whole page. `title` is plain text; `body` is HTML; `section` marks the place in the menu."""
    shop = visit.shop.config
    count = sum(visit.cart.values())
    name = escape(shop.name)
    heading = f"{escape(title)} – {name}" if title else name
    badge = f'<span class="count">{count}</span>' if count else ""
    current = ' aria-current="page"' if section == "cart" else ""
    return (
        f"{_head(visit, heading)}"
        f'<header class="top"><div class="in"><a class="brand" href="/">{_MARK}<span>{name}</span></a>'
        f"<nav>{_language_link(visit)}"
        f'<a class="cart" href="/cart"{current}>{visit.say("cart")}{badge}</a></nav></div></header>'
        f'<main id="main" class="in{" wide" if wide else ""}">{body}</main>'
        f'<footer class="in"><p>{name}</p>'
        f'<p><a href="/admin">{visit.say("for_merchant")}</a></p></footer></body></html>'
    )


def admin_page(visit: Visit, title: str, body: str, *, section: str = "", menu: str = "") -> str:
    """A page of the merchant's side; `menu` is HTML, empty before log-in."""
    name = escape(visit.shop.config.name)
    return (
        f"{_head(visit, f'{escape(title)} – {name}', robots=True)}"
        f'<header class="top"><div class="in"><a class="brand" href="/admin">{_MARK}<span>{name}</span></a>'
        f'<nav>{_language_link(visit)}<a href="/">{visit.say("view_shop")}</a></nav></div></header>'
        f'{menu}<main id="main" class="in">{body}</main></body></html>'
    )


def _head(visit: Visit, heading: str, *, robots: bool = False) -> str:
    hide = '<meta name="robots" content="noindex">' if robots else ""
    return (
        f'<!doctype html><html lang="{visit.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title>{hide}"
        '<meta name="theme-color" content="#FAF8F4" media="(prefers-color-scheme: light)">'
        '<meta name="theme-color" content="#11161D" media="(prefers-color-scheme: dark)">'
        f'<link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="{style_address()}"></head>'
        f'<body><a class="skip" href="#main">{visit.say("skip")}</a>'
    )


def _language_link(visit: Visit) -> str:
    code, name = _OTHER[visit.language]
    path = "/".join(percent_encode(part) for part in visit.request.path.split("/"))
    if visit.request.method == "POST":
        path = "/" if not path.startswith("/admin") else "/admin"
    return f'<a lang="{code}" hreflang="{code}" href="{path}?lang={code}" rel="nofollow">{name}</a>'


def notice(text: str, kind: str = "done", title: str = "") -> str:
    """A message at the top of a page; `text` is HTML. Errors are read out at once."""
    role = "alert" if kind == "wrong" else "status"
    strong = f"<strong>{title}</strong> " if title else ""
    return f'<p class="notice {kind}" role="{role}">{strong}{text}</p>'


def field(  # noqa: PLR0913 - all but two by name
    name: str,
    label: str,
    value: str = "",
    *,
    error: str = "",
    help_text: str = "",
    attributes: str = "",
    rows: int = 0,
    optional: str = "",
) -> str:
    """A labelled input (or, with `rows`, a text area) with its help and its error under it."""
    about = " ".join(
        f"{name}-{part}" for part, text in (("help", help_text), ("error", error)) if text
    )
    described = f' aria-describedby="{about}"' if about else ""
    invalid = ' aria-invalid="true"' if error else ""
    shared = f'id="{name}" name="{name}" {attributes}{described}{invalid}'
    if rows:
        control = f'<textarea {shared} rows="{rows}">{escape(value)}</textarea>'
    else:
        control = f'<input {shared} value="{escape(value)}">'
    extra = f' <span class="optional">{optional}</span>' if optional else ""
    below = f'<p class="help" id="{name}-help">{help_text}</p>' if help_text else ""
    below += f'<p class="error" id="{name}-error">{error}</p>' if error else ""
    return f'<div class="field"><label for="{name}">{label}{extra}</label>{control}{below}</div>'


def pager(visit: Visit, path: str, number: int, more: bool) -> str:
    """Links to the page before and the page after; nothing when there is only one."""
    links = ""
    if number > 1:
        links += f'<a class="button quiet" rel="prev" href="{path}?page={number - 1}">{visit.say("newer")}</a>'
    if more:
        links += f'<a class="button quiet" rel="next" href="{path}?page={number + 1}">{visit.say("older")}</a>'
    return f'<nav class="pager" aria-label="{visit.say("pages")}">{links}</nav>' if links else ""


def page_number(visit: Visit) -> int:
    """The page asked for in the query, from 1."""
    text = visit.request.query.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 5 else 1
