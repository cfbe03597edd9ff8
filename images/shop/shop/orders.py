"""Orders: recorded once, with what was bought at the price it had, and carried to the end."""

from __future__ import annotations

from time import time

from .catalogue import find
from .store import Store

# Where an order may go from each state.
NEXT = {
    "new": ("paid", "cancelled"),
    "paid": ("shipped", "cancelled"),
    "shipped": (),
    "cancelled": (),
}
MOST_OPEN = 5000  # unpaid orders a shop keeps; beyond that somebody is filling its disk

_COLUMNS = (
    "SELECT id, token, made_at, state, name, email, address, note, total, currency FROM purchase"
)


class OutOfStockError(Exception):
    """A product has sold out or gone since the cart was filled; `args[0]` is its name."""


class TooManyOrdersError(Exception):
    """The shop has more unpaid orders than it can take."""


class Order:
    """One order, as it was placed."""

    __slots__ = (
        "address",
        "currency",
        "email",
        "id",
        "made_at",
        "name",
        "note",
        "state",
        "token",
        "total",
    )

    def __init__(self, *row: object) -> None:
        (
            self.id, self.token, self.made_at, self.state, self.name,
            self.email, self.address, self.note, self.total, self.currency,
        ) = row  # fmt: skip


class Line:
    """One product of an order, at the price it was bought for."""

    __slots__ = ("name", "price", "product", "quantity")

    def __init__(self, *row: object) -> None:
        (self.product, self.name, self.price, self.quantity) = row


def place(store: Store, token: str, items: dict[int, int], buyer: tuple, currency: str) -> None:
    """Record an order and take its stock, all or nothing; the same `token` again changes nothing.

    `items` maps product id to quantity; `buyer` is name, e-mail, address, note.
    """
    with store:
        if find_order(store, token) is not None:
            return  # the button was pressed twice
        if store.one("SELECT count(*) FROM purchase WHERE state = 'new'")[0] >= MOST_OPEN:
            raise TooManyOrdersError
        lines = [_take(store, number, quantity) for number, quantity in items.items()]
        total = sum(price * quantity for _, _, price, quantity in lines)
        number = store.insert(
            "INSERT INTO purchase (token, made_at, state, name, email, address, note, total, currency)"
            " VALUES (?, ?, 'new', ?, ?, ?, ?, ?, ?)",
            token, int(time()), *buyer, total, currency,
        )  # fmt: skip
        for line in lines:
            store.change("INSERT INTO line VALUES (?, ?, ?, ?, ?)", number, *line)


def _take(store: Store, number: int, quantity: int) -> tuple[int, str, int, int]:
    product = find(store, number)
    if product is None or not product.shown:
        raise OutOfStockError(product.name if product else "")
    taken = store.change(
        "UPDATE product SET stock = stock - ? WHERE id = ? AND (stock IS NULL OR stock >= ?)",
        quantity, number, quantity,
    )  # fmt: skip
    if not taken:
        raise OutOfStockError(product.name)
    return number, product.name, product.price, quantity


def find_order(store: Store, token: str) -> Order | None:
    """The order with a confirmation token."""
    row = store.one(f"{_COLUMNS} WHERE token = ?", token)
    return Order(*row) if row else None


def numbered(store: Store, number: str) -> Order | None:
    """The order with a number, as the merchant names it."""
    if not (number.isascii() and number.isdecimal() and len(number) <= 9):
        return None
    row = store.one(f"{_COLUMNS} WHERE id = ?", int(number))
    return Order(*row) if row else None


def latest(store: Store, offset: int, count: int) -> list[Order]:
    """Orders, the newest first."""
    return [
        Order(*row)
        for row in store.all(f"{_COLUMNS} ORDER BY id DESC LIMIT ? OFFSET ?", count, offset)
    ]


def lines(store: Store, order: Order) -> list[Line]:
    """Return the lines of an order."""
    found = store.all(
        "SELECT product, name, price, quantity FROM line WHERE purchase = ?", order.id
    )
    return [Line(*row) for row in found]


def counts(store: Store) -> dict[str, int]:
    """Return how many orders are in each state."""
    return dict(store.all("SELECT state, count(*) FROM purchase GROUP BY state"))


def move(store: Store, order: Order, state: str) -> bool:
    """Carry an order to a state; False when it cannot go there (any more). Cancelling returns stock."""
    if state not in NEXT[order.state]:
        return False
    with store:
        moved = store.change(
            "UPDATE purchase SET state = ? WHERE id = ? AND state = ?", state, order.id, order.state
        )
        if moved and state == "cancelled":
            for line in lines(store, order):
                store.change(
                    "UPDATE product SET stock = stock + ? WHERE id = ?", line.quantity, line.product
                )
    return bool(moved)
