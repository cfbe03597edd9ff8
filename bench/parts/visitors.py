"""Visitors of many shops at a steady pace: they look, and some of them buy.

Every request is counted with its time and what came of it; every order that a shop has confirmed is
kept, so that it can be looked for afterwards.
"""

import http.client
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

TIMEOUT_SECONDS = 20.0
_BUYER = {"name": "Ada", "email": "ada@example.com", "address": "12 Harbour Street\nLondon"}


Asked = Callable[..., "Answer"]
Work = Callable[[http.client.HTTPConnection, str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """One request: to which shop, when it began, how long it took, and its status (0: no answer)."""

    slug: str
    began: float
    milliseconds: float
    status: int

    @property
    def failed(self) -> bool:
        """Whether the visitor was told away or got nothing."""
        return not 200 <= self.status < 400


@dataclass(slots=True)
class Seen:
    """What visitors saw. orders: where each confirmed order is to be found, by shop."""

    requests: list[Request] = field(default_factory=list)
    orders: dict[str, list[str]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Requests that were told away or got no answer."""
        return sum(one.failed for one in self.requests)

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came; 0 for no answer."""
        return Counter(one.status for one in self.requests)

    @property
    def longest_ms(self) -> float:
        """The longest that anybody waited."""
        return max((one.milliseconds for one in self.requests), default=0.0)

    @property
    def order_count(self) -> int:
        """Orders that were confirmed."""
        return sum(map(len, self.orders.values()))


class Visitors:
    """Visits the shops behind an edge from start() to stop(), looks_per_second and orders_per_second
    over all shops together. Looks keep their connections, orders use one each, as browsers do.
    """

    def __init__(
        self,
        port: int,
        slugs: Sequence[str],
        *,
        looks_per_second: float = 30.0,
        orders_per_second: float = 3.0,
        lookers: int = 6,
        buyers: int = 4,
    ) -> None:
        self._port = port
        self._slugs = slugs
        self.seen = Seen()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._next = itertools.cycle(slugs)
        works = [(self._look, lookers, looks_per_second), (self._buy, buyers, orders_per_second)]
        self._threads = [
            threading.Thread(target=self._run, args=(work, count / rate), daemon=True)
            for work, count, rate in works
            for _ in range(count)
            if rate > 0
        ]

    def start(self) -> "Visitors":
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Seen:
        """End, once everybody has their answer."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return self.seen

    def _run(self, work: Work, pause: float) -> None:
        wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause, time.monotonic() - 1.0)
            with self._lock:
                slug = next(self._next)
            work(wire, slug)
        wire.close()

    def _look(self, wire: http.client.HTTPConnection, slug: str) -> None:
        self._asked(wire, slug, "GET", "/")

    def _buy(self, _: http.client.HTTPConnection, slug: str) -> None:
        wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            place = order(slug, lambda *request: self._asked(wire, slug, *request))
        finally:
            wire.close()
        if place:
            with self._lock:
                self.seen.orders.setdefault(slug, []).append(place)

    def _asked(
        self, wire: http.client.HTTPConnection, slug: str, method: str, path: str, *more: str
    ) -> "Answer":
        began = time.monotonic()
        answer = ask(wire, slug, method, path, *more)
        taken = (time.monotonic() - began) * 1000
        with self._lock:
            self.seen.requests.append(Request(slug, began, taken, answer.status))
        return answer


@dataclass(frozen=True, slots=True)
class Answer:
    """A shop's answer; status 0 for none."""

    status: int
    text: str = ""
    location: str = ""
    cookie: str = ""

    def hidden(self, name: str) -> str:
        """The value of a form's hidden field; "" when there is none."""
        found = re.search(f'name="{name}" value="([^"]*)"', self.text)
        return found.group(1) if found else ""


def ask(
    wire: http.client.HTTPConnection,
    slug: str,
    method: str,
    path: str,
    body: str = "",
    cookie: str = "",
) -> Answer:
    """One request to a shop through the edge, on a connection that is kept."""
    headers = {"Host": f"{slug}.localhost"}
    if body:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if cookie:
        headers["Cookie"] = cookie
    try:
        wire.request(method, path, body or None, headers)
        answer = wire.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        wire.close()
        return Answer(0)
    set_cookie = (answer.headers.get("Set-Cookie") or "").partition(";")[0]
    return Answer(answer.status, text, answer.headers.get("Location") or "", set_cookie)


def order(slug: str, asked: Asked) -> str:
    """Put a product into the cart and order it; where the confirmed order is shown, "" for none."""
    jar: dict[str, str] = {}

    def step(method: str, path: str, body: str = "") -> Answer:
        answer = asked(method, path, body, "; ".join(jar.values()))
        if answer.cookie:
            jar[answer.cookie.partition("=")[0]] = answer.cookie
        return answer

    page = step("GET", "/products/1")
    cart = {"ticket": page.hidden("ticket"), "do": "add", "product": "1", "quantity": "1"}
    step("POST", "/cart", urlencode(cart))
    form = step("GET", "/checkout")
    if not form.hidden("try"):
        return ""
    fields = {"ticket": form.hidden("ticket"), "try": form.hidden("try"), **_BUYER}
    placed = step("POST", "/checkout", urlencode(fields))
    return placed.location if placed.status == 303 and "/orders/" in placed.location else ""


def lost_orders(port: int, orders: dict[str, list[str]]) -> list[str]:
    """Confirmed orders that their shop does not show (any more)."""
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    lost = [
        f"{slug}{place}"
        for slug, places in orders.items()
        for place in places
        if ask(wire, slug, "GET", place).status != 200
    ]
    wire.close()
    return lost


def between(requests: Iterable[Request], began: float, ended: float) -> list[Request]:
    """Those that were under way at any time from began to ended."""
    return [
        one for one in requests if one.began < ended and one.began + one.milliseconds / 1000 > began
    ]
