"""The merchant's side: where its paths lead, logging in, the password."""

from __future__ import annotations

from . import admin_orders, admin_products, auth
from .admin_frame import menu
from .layout import admin_page, field, notice
from .messages import HttpError, Response
from .visit import Visit


def route(rest: list[str]) -> tuple[dict, list[str]]:  # noqa: PLR0911 - a table of paths
    """The handlers by method below /admin, and the parts of the path they want; HttpError 404."""
    match rest:
        case []:
            return _only_merchant(GET=admin_orders.overview), []
        case ["login"]:
            return {"GET": ask_login, "POST": log_in}, []
        case ["logout"]:
            return {"POST": log_out}, []
        case ["password"]:
            return {"GET": ask_password, "POST": change_password}, []
        case ["orders", number]:
            return _only_merchant(GET=admin_orders.show, POST=admin_orders.move), [number]
        case ["products"]:
            return _only_merchant(GET=admin_products.overview), []
        case ["products", "new"]:
            return _only_merchant(GET=admin_products.ask_new, POST=admin_products.add), []
        case ["products", number]:
            return _only_merchant(GET=admin_products.ask, POST=admin_products.change), [number]
        case ["products", number, "remove"]:
            return _only_merchant(GET=admin_products.ask_remove, POST=admin_products.remove), [
                number
            ]
    raise HttpError(404)


def _only_merchant(**handlers) -> dict:
    """The same handlers behind the log-in, and behind the change of the first secret."""

    def guarded(handler):
        def guard(visit: Visit, *given: str):
            who = auth.merchant(visit)
            if who is None:
                return visit.send_to("/admin/login")
            if who.must_change:
                return visit.send_to("/admin/password")
            return handler(who, *given)

        return guard

    return {method: guarded(handler) for method, handler in handlers.items()}


def ask_login(visit: Visit) -> Response:
    """The form for the secret or the password."""
    if auth.merchant(visit) is not None:
        return visit.send_to("/admin")
    return _login_page(visit, 200)


def log_in(visit: Visit):
    """Begin a session, or say that the secret was wrong."""
    fields = visit.form()
    return auth.log_in(
        visit,
        fields.get("secret", ""),
        welcome=lambda: visit.send_to("/admin"),
        refuse=lambda: _login_page(visit, 403, visit.say("wrong_secret")),
    )


def log_out(visit: Visit) -> Response:
    """End this browser's session."""
    who = auth.merchant(visit)
    if who is not None:
        who.form()
        who.log_out()
    return visit.send_to("/admin/login")


def ask_password(visit: Visit) -> Response:
    """The form for a new password; the first thing after the first log-in."""
    who = auth.merchant(visit)
    return _password_page(who, 200) if who is not None else visit.send_to("/admin/login")


def change_password(visit: Visit):
    """Keep a new password, or say why it cannot be."""
    who = auth.merchant(visit)
    if who is None:
        return visit.send_to("/admin/login")
    return auth.change_password(
        who,
        who.form(),
        done=lambda: visit.send_to("/admin?password"),
        refuse=lambda reason: _password_page(who, 400, reason),
    )


def _login_page(visit: Visit, status: int, error: str = "") -> Response:
    known = visit.shop.store.setting("password") is not None
    label = visit.say("password" if known else "first_secret")
    secret = field(
        "secret",
        label,
        error=error,
        help_text="" if known else visit.say("first_secret_help"),
        attributes='type="password" required autofocus autocomplete="current-password"',
    )
    body = (
        f'<div class="narrow"><h1>{visit.say("log_in")}</h1>'
        f'<form class="stack" method="post" action="/admin/login">{visit.ticket}{secret}'
        f'<button class="button big">{visit.say("log_in")}</button></form></div>'
    )
    return visit.answer(admin_page(visit, visit.say("log_in"), body), status, private=True)


def _password_page(who: auth.Merchant, status: int, reason: str = "") -> Response:
    visit = who.visit
    error = (
        visit.say(reason, least=auth.SHORTEST_PASSWORD, most=auth.LONGEST_PASSWORD)
        if reason
        else ""
    )
    about_current = reason == "wrong_current"
    current = ""
    if not who.must_change:
        current = field(
            "current",
            visit.say("current_password"),
            error=error if about_current else "",
            attributes='type="password" required autocomplete="current-password"',
        )
    new = field(
        "new",
        visit.say("new_password"),
        error="" if about_current else error,
        help_text=visit.say("password_help", least=auth.SHORTEST_PASSWORD),
        attributes=f'type="password" required minlength="{auth.SHORTEST_PASSWORD}" '
        f'maxlength="{auth.LONGEST_PASSWORD}" autocomplete="new-password"',
    )
    again = field(
        "again",
        visit.say("password_again"),
        attributes='type="password" required autocomplete="new-password"',
    )
    first = notice(visit.say("choose_password"), "done") if who.must_change else ""
    body = (
        f'<div class="narrow"><h1>{visit.say("password")}</h1>{first}'
        f'<form class="stack" method="post" action="/admin/password">{who.ticket}{current}{new}{again}'
        f'<button class="button big">{visit.say("save_password")}</button></form></div>'
    )
    html = admin_page(visit, visit.say("password"), body, menu=menu(who, "password"))
    return visit.answer(html, status, private=True)
