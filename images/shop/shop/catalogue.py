"""The products: what is on the shelf, what it costs, and how many are left."""

from __future__ import annotations

from .store import Store

_COLUMNS = "SELECT id, name, description, price, stock, picture, shown FROM product"
MOST_PRODUCTS = 2000  # a small shop; keeps the volume and every page bounded
MOST_STOCK = 1_000_000


class Product:
    """One product. `price` in smallest units; `stock` None means it is not counted."""

    __slots__ = ("description", "id", "name", "picture", "price", "shown", "stock")

    def __init__(self, *row: object) -> None:
        (self.id, self.name, self.description, self.price, self.stock, self.picture, self.shown) = (
            row
        )

    @property
    def sold_out(self) -> bool:
        return self.stock == 0

    def at_most(self, wanted: int) -> int:
        """Return as many of `wanted` as there are."""
        return wanted if self.stock is None else min(wanted, self.stock)


def shelf(store: Store, offset: int, count: int) -> list[Product]:
    """Return the products that visitors see, newest last."""
    rows = store.all(f"{_COLUMNS} WHERE shown ORDER BY id LIMIT ? OFFSET ?", count, offset)
    return [Product(*row) for row in rows]


def everything(store: Store, offset: int, count: int) -> list[Product]:
    """Return the products that the merchant sees."""
    return [
        Product(*row)
        for row in store.all(f"{_COLUMNS} ORDER BY id LIMIT ? OFFSET ?", count, offset)
    ]


def size(store: Store) -> int:
    """Return how many products there are, shown or not."""
    return store.one("SELECT count(*) FROM product")[0]


def find(store: Store, number: str | int) -> Product | None:
    """The product with an id, shown or not; None for what is no id at all, too."""
    if isinstance(number, str):
        if not (number.isascii() and number.isdecimal() and len(number) <= 9):
            return None
        number = int(number)
    row = store.one(f"{_COLUMNS} WHERE id = ?", number)
    return Product(*row) if row else None


def put(store: Store, number: int | None, fields: tuple) -> int:
    """Add (`number` None) or change a product; `fields` in the order of the columns. Returns its id."""
    if number is None:
        return store.insert(
            "INSERT INTO product (name, description, price, stock, picture, shown)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *fields,
        )
    store.change(
        "UPDATE product SET name = ?, description = ?, price = ?, stock = ?, picture = ?, shown = ?"
        " WHERE id = ?",
        *fields,
        number,
    )
    return number


def remove(store: Store, number: int) -> None:
    """Take a product out; orders keep its name and price."""
    store.change("DELETE FROM product WHERE id = ?", number)
