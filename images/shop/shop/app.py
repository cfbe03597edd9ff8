"""Which path leads where, and what a visitor sees when it leads nowhere."""

from __future__ import annotations

from . import cart, checkout, storefront
from .config import Config
from .forms import percent_encode
from .layout import asset
from .messages import HttpError, Request, Response, redirect
from .store import Store, sqlite
from .visit import Shop, Visit

_HEALTHY = Response("ok\n", kind="text/plain", headers=(("Cache-Control", "no-store"),))


class Application:
    """Answers requests; what the server calls."""

    def __init__(self, config: Config, store: Store) -> None:
        self._shop = Shop(config, store)

    def __call__(self, request: Request):  # noqa: PLR0911 - a way out per kind of path
        """The response to a request, or a `Later`."""
        path = request.path
        if path == "/healthz":
            self._shop.store.one("SELECT name FROM setting LIMIT 1")
            return _only_reading(request, _HEALTHY)
        if path == "/style.css":
            return _only_reading(request, _lasting(asset("style.css"), "text/css; charset=utf-8"))
        if path == "/favicon.svg":
            return _only_reading(request, _lasting(asset("favicon.svg"), "image/svg+xml"))
        try:
            if len(path) > 1 and path.endswith("/") and not path.startswith("//"):
                return redirect(_encoded(path.rstrip("/")), 308)
            methods, given = route(path)
            handler = methods.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                return self.refuse(HttpError(405), request, allow=methods)
            visit = Visit(request, self._shop)
            visit.remember_visitor()
            return handler(visit, *given)
        except HttpError as error:
            return self.refuse(error, request)
        except sqlite.OperationalError as error:
            # The volume is full or busy: nothing was recorded, and reading goes on. Only the merchant
            # can do something about a full one.
            is_merchants = path.startswith("/admin") and _is_full(error)
            return self.refuse(HttpError(507 if is_merchants else 503, str(error)), request)

    def refuse(self, error: HttpError, request: Request | None, allow: object = ()) -> Response:
        """The page that says why not. `request` is None where there was none that could be read."""
        if request is None:
            body = f"{error.status} {error}\n"
            return Response(body, error.status, kind="text/plain; charset=utf-8")
        from .refusals import refusal

        response = refusal(Visit(request, self._shop), error.status)
        if allow:
            response.headers.append(
                ("Allow", ", ".join(("HEAD", *allow) if "GET" in allow else allow))
            )
        if error.status in (429, 503):
            response.headers.append(("Retry-After", "60" if error.status == 429 else "5"))
        return response

    def log_line(self, request: Request | None, response: Response) -> str:
        """Log a request, without its query and an order's token. Successful health checks are left out."""
        if request is None:
            return f"- - {response.status}"
        path = request.path
        if path == "/healthz" and response.status == 200:
            return ""
        shown = "/orders/*" if path.startswith("/orders/") else _encoded(path)
        return (
            f"{_client(request)} {request.method} {shown} {response.status} {len(response.body)}B"
        )


def _is_full(error: sqlite.OperationalError) -> bool:
    """Beyond a quota the kernel says EDQUOT, which SQLite calls an input/output error."""
    return error.sqlite_errorname.startswith(("SQLITE_FULL", "SQLITE_IOERR"))


def route(path: str) -> tuple[dict, list[str]]:
    """The handlers by method, and the parts of the path they want; HttpError 404."""
    match path[1:].split("/"):
        case [""]:
            return {"GET": storefront.home}, []
        case ["products", number]:
            return {"GET": storefront.product}, [number]
        case ["cart"]:
            return {"GET": cart.show, "POST": cart.change}, []
        case ["checkout"]:
            return {"GET": checkout.ask, "POST": checkout.order}, []
        case ["orders", token]:
            return {"GET": checkout.confirmation}, [token]
        case ["admin", *rest]:
            from .admin import route as admin_route  # few visitors are merchants

            return admin_route(rest)
    raise HttpError(404)


def _only_reading(request: Request, response: Response) -> Response:
    if request.method in ("GET", "HEAD"):
        return response
    return Response("GET, HEAD\n", 405, kind="text/plain", headers=(("Allow", "GET, HEAD"),))


def _lasting(content: bytes, kind: str) -> Response:
    """A file that is the same until the next release, whose address then changes."""
    return Response(content, kind=kind, headers=(("Cache-Control", "public, max-age=31536000"),))


def _encoded(path: str) -> str:
    return "/".join(percent_encode(part) for part in path.split("/"))


def _client(request: Request) -> str:
    client = request.client
    return (
        client
        if client and client.isascii() and client.isprintable() and " " not in client
        else "-"
    )
