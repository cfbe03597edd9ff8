"""One visit to one page: whose language, which cart, and how an answer to it is built.

The cart lives in the visitor's own cookie, sealed so that only we can write it: a million
visitors cost this process nothing.
"""

from __future__ import annotations

from . import sign
from .config import LANGUAGES, Config
from .forms import escape
from .messages import HttpError, Request, Response
from .store import Store

CART_DAYS = 30
MOST_LINES = 40  # different products in a cart
MOST_EACH = 99

CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = (
    ("Content-Security-Policy", CONTENT_POLICY),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


class Shop:
    """What every visit shares."""

    __slots__ = ("config", "store")

    def __init__(self, config: Config, store: Store) -> None:
        self.config = config
        self.store = store


class Visit:
    """A request, with the visitor's language and cart."""

    __slots__ = ("_cookies", "_set", "_words", "cart", "language", "request", "shop", "visitor")

    def __init__(self, request: Request, shop: Shop) -> None:
        self.request = request
        self.shop = shop
        self._cookies = request.cookies
        self._set: list[tuple[str, str]] = []
        self.language = self._choose_language()
        self._words = words_of(self.language)
        self.visitor, self.cart = self._read_cart()

    # what pages ask for

    def say(self, key: str, **values: object) -> str:
        """A phrase in the visitor's language; `values` are put in escaped."""
        phrase = self._words.get(key) or merchant_words_of(self.language)[key]
        if not values:
            return phrase
        return phrase.format(**{name: escape(value) for name, value in values.items()})

    def money(self, amount: int, currency: str = "") -> str:
        from .money import show

        return escape(show(amount, currency or self.shop.config.currency))

    @property
    def ticket(self) -> str:
        """The hidden field that shows a form came from a page we gave this visitor."""
        value = sign.mark(self.shop.store.key, "ticket", self.visitor)
        return f'<input type="hidden" name="ticket" value="{value}">'

    def form(self) -> dict[str, str]:
        """The posted form, after making sure that it comes from our own page; HttpError 403."""
        fields = self.request.form()
        refuse_foreign(self.request)
        expected = sign.mark(self.shop.store.key, "ticket", self.visitor)
        if not sign.same(fields.get("ticket", "").encode(), expected.encode()):
            raise HttpError(403, "ticket")
        return fields

    # cart

    def put_in_cart(self, product: int, quantity: int) -> None:
        """Have `quantity` of a product in the cart; 0 takes it out."""
        if quantity <= 0:
            self.cart.pop(product, None)
        elif product in self.cart or len(self.cart) < MOST_LINES:
            self.cart[product] = min(quantity, MOST_EACH)
        self._keep_cart()

    def empty_cart(self) -> None:
        self.cart = {}
        self._keep_cart()

    def _read_cart(self) -> tuple[str, dict[int, int]]:
        sealed = self._cookies.get(self.cookie_name("cart"), "")
        data = sign.unseal(self.shop.store.key, "cart", sealed) if sealed else None
        if data is None:
            return "", {}
        visitor, *items = data.split(".")
        pairs = (item.split("x") for item in items)
        return visitor, {int(product): int(quantity) for product, quantity in pairs}

    def remember_visitor(self) -> None:
        """Give the visitor a number of their own, which forms and the cart hang on."""
        if not self.visitor:
            self.visitor = sign.token(9)
            self._keep_cart()

    def _keep_cart(self) -> None:
        items = [f"{product}x{quantity}" for product, quantity in self.cart.items()]
        data = ".".join((self.visitor, *items))
        self.set_cookie("cart", sign.seal(self.shop.store.key, "cart", data), CART_DAYS * 86400)

    # cookies and language

    def cookie_name(self, name: str) -> str:
        """Over https no other shop under the same domain can plant a `__Host-` cookie here."""
        return f"__Host-{name}" if self.request.secure else name

    def cookie(self, name: str) -> str:
        return self._cookies.get(self.cookie_name(name), "")

    def set_cookie(self, name: str, value: str, seconds: int) -> None:
        full = self.cookie_name(name)
        secure = "; Secure" if self.request.secure else ""
        line = f"{full}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        self._set = [old for old in self._set if not old[1].startswith(f"{full}=")]
        self._set.append(("Set-Cookie", line))

    def _choose_language(self) -> str:
        asked = self.request.query.get("lang", "")
        if asked in LANGUAGES:
            self.set_cookie("lang", asked, 365 * 86400)
            return asked
        kept = self.cookie("lang")
        if kept in LANGUAGES:
            return kept
        return preferred(self.request.headers.get("accept-language", ""), self.shop.config.language)

    # answers

    def answer(self, html: str, status: int = 200, *, private: bool = False) -> Response:
        """A page. `private` ones are not kept by the browser either (orders, the merchant's pages)."""
        keep = "no-store" if private else "private, no-cache"
        headers = (*PAGE_HEADERS, ("Cache-Control", keep), ("Vary", "Cookie, Accept-Language"))
        return Response(html, status, headers=(*headers, *self._set))

    def send_to(self, path: str) -> Response:
        """After a form: on to a page, so that reloading it does not post again."""
        headers = (("Location", path), ("Cache-Control", "no-store"), *self._set)
        return Response(status=303, kind="text/plain", headers=headers)


def refuse_foreign(request: Request) -> None:
    """HttpError 403 for a form posted from elsewhere: another shop on our domain counts as elsewhere."""
    origin = request.headers.get("origin", "")
    if origin and origin.partition("://")[2] != request.host:
        raise HttpError(403, "origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HttpError(403, "sec-fetch-site")


def preferred(header: str, default: str) -> str:
    """The language of ours that an Accept-Language header likes best; `default` when none."""
    best, weight = default, 0.0
    for entry in header[:200].split(","):
        tag, _, rest = entry.strip().partition(";")
        language = tag.partition("-")[0].strip().lower()
        try:
            quality = float(rest.partition("q=")[2] or 1) if rest else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > weight:
            best, weight = language, quality
    return best


def words_of(language: str) -> dict[str, str]:
    """The phrases of a language, read when the first visitor wants them."""
    if language == "ja":
        from .words_ja import WORDS
    else:
        from .words_en import WORDS
    return WORDS


def merchant_words_of(language: str) -> dict[str, str]:
    """The phrases of the merchant's pages."""
    if language == "ja":
        from .merchant_words_ja import WORDS
    else:
        from .merchant_words_en import WORDS
    return WORDS
