"""Pages by key: a list goes on after the last row seen, however many rows there are. Nothing is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RowPage(Generic[Row]):
    """Some rows and the key of the ones after them ("" at the end)."""

    rows: Sequence[Row]
    next_key: str


def page(found: QuerySet[Row], *, by: str, after: str, size: int) -> RowPage[Row]:
    """Return the rows from the key `after` on, newest first (a key that cannot be read starts anew).

    by: the field of time that orders them, and after it the primary key.
    """
    key = _read_key(after)
    if key is not None:
        at, pk = key
        found = found.filter(Q(**{f"{by}__lt": at}) | Q(**{by: at, "pk__lt": pk}))
    rows = list(found.order_by(f"-{by}", "-pk")[: size + 1])
    return RowPage(rows[:size], _write_key(rows[size - 1], by) if len(rows) > size else "")


def _write_key(row: Model, by: str) -> str:
    return f"{(getattr(row, by) - _EPOCH) // _MICROSECOND}.{row.pk}"


def _read_key(text: str) -> tuple[datetime, int] | None:
    microseconds, _, pk = text.partition(".")
    if not (microseconds.isdecimal() and pk.isdecimal() and len(text) <= 40):
        return None
    try:
        return _EPOCH + int(microseconds) * _MICROSECOND, int(pk)
    except OverflowError:
        return None
