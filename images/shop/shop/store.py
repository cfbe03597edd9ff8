"""The shop's data: one SQLite file on the volume, opened small and kept small.

`_sqlite3` is used directly: the `sqlite3` package adds datetime adapters, and `_sqlite3` itself
asks for `functools` only to find `lru_cache`, which a stand-in gives it without collections,
operator, reprlib and types.
"""

from __future__ import annotations

import posix
import sys
from _functools import _lru_cache_wrapper
from time import time

from .config import Config


def _import_sqlite3():
    """`_sqlite3`, with a stand-in for the one function it wants from `functools`."""
    if "functools" in sys.modules:
        import _sqlite3

        return _sqlite3
    stand_in = type(sys)("functools")
    stand_in.lru_cache = lambda size: lambda call: _lru_cache_wrapper(call, size, False, tuple)
    sys.modules["functools"] = stand_in
    try:
        import _sqlite3
    finally:
        del sys.modules["functools"]  # a later import gets the real one
    return _sqlite3


sqlite = _import_sqlite3()

SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE product (
    -- AUTOINCREMENT: a number in somebody's cart never comes to mean another product
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, description TEXT NOT NULL,
    price INTEGER NOT NULL CHECK (price >= 0), stock INTEGER CHECK (stock >= 0),
    picture TEXT NOT NULL, shown INTEGER NOT NULL
) STRICT;
CREATE TABLE purchase (
    id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, made_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('new', 'paid', 'shipped', 'cancelled')),
    name TEXT NOT NULL, email TEXT NOT NULL, address TEXT NOT NULL, note TEXT NOT NULL,
    total INTEGER NOT NULL, currency TEXT NOT NULL
) STRICT;
CREATE TABLE line (
    purchase INTEGER NOT NULL REFERENCES purchase, product INTEGER NOT NULL,
    name TEXT NOT NULL, price INTEGER NOT NULL, quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (purchase, product)
) STRICT, WITHOUT ROWID;
CREATE TABLE session (
    id TEXT PRIMARY KEY, made_at INTEGER NOT NULL, must_change INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""

# 1 KB pages: an empty table costs a page, and a shop is mostly small tables.
NEW_FILE = "PRAGMA page_size = 1024; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;"
# No -shm file to map (TRUNCATE, not WAL), 128 kB of cache, a whole commit is on disk (FULL).
EVERY_TIME = (
    "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL; PRAGMA cache_size = -128;"
    "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA busy_timeout = 1000;"
)


class Store:
    """The open database. Reads are single statements; writes are `with store:` blocks."""

    def __init__(self, config: Config) -> None:
        path = f"{config.data}/shop.db"
        if not _exists(path):
            _create(path, config)
        self._connection = _open(path)
        self._connection.executescript(EVERY_TIME)
        self.key: bytes = self.setting("key")

    def all(self, query: str, *values: object) -> list[tuple]:
        """Every row of a query."""
        return self._connection.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> tuple | None:
        """The first row of a query, or None."""
        return self._connection.execute(query, values).fetchone()

    def change(self, statement: str, *values: object) -> int:
        """Run one statement that writes; the number of rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def insert(self, statement: str, *values: object) -> int:
        """Run one INSERT; the new row's id."""
        return self._connection.execute(statement, values).lastrowid

    def setting(self, name: str):
        """A value kept by name, or None."""
        row = self.one("SELECT value FROM setting WHERE name = ?", name)
        return row[0] if row else None

    def keep(self, name: str, value: str | bytes | int) -> None:
        """Keep a value by name."""
        self.change("INSERT OR REPLACE INTO setting VALUES (?, ?)", name, value)

    def __enter__(self) -> Store:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # refused, or the volume is full
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


def _open(path: str):
    return sqlite.connect(path, 1.0, 0, None, False, sqlite.Connection, 32)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True


def _create(path: str, config: Config) -> None:
    """Make the first database under another name: a shop.db that exists is always a whole one."""
    from .samples import products

    draft = f"{path}.new"
    if _exists(draft):
        posix.unlink(draft)  # an earlier first start was cut off
    connection = _open(draft)
    connection.executescript(f"{NEW_FILE} BEGIN; {SCHEMA}")
    keep = "INSERT INTO setting VALUES (?, ?)"
    connection.execute(keep, ("key", posix.urandom(32)))
    connection.execute(keep, ("born_at", int(time())))
    connection.executemany(
        "INSERT INTO product (name, description, price, stock, picture, shown) VALUES (?, ?, ?, ?, ?, 1)",
        products(config.language, config.currency),
    )
    connection.execute("COMMIT")
    connection.close()
    handle = posix.open(draft, posix.O_RDONLY)
    posix.fsync(handle)
    posix.close(handle)
    posix.rename(draft, path)
    del sys.modules["shop.samples"]  # wanted once in a shop's life
