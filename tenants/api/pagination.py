"""Pages by key, newest first: nothing is counted, and new rows do not shift what is read.

A cursor is made here and comes back from outside: what it says is looked at before it is asked of the record.
"""

from django.utils.dateparse import parse_datetime
from rest_framework import exceptions
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from tenants.errors import QueryError

# More rows of one moment than that are skipped by no cursor of ours.
MOST_OFFSET = 1000


class NewestFirst(CursorPagination):
    """`{next, previous, results}`; `page_size` up to 200."""

    ordering = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return the cursor of the request; None for the first page. Raises QueryError for a made-up one."""
        if not request.query_params.get(self.cursor_query_param):
            return None
        try:
            cursor = super().decode_cursor(request)
            at = parse_datetime(str(cursor.position or "")) if cursor else None
        except (exceptions.NotFound, ValueError) as error:
            raise _no_cursor(request) from error
        # All of ours name a moment.
        if cursor is None or at is None or at.tzinfo is None or cursor.offset > MOST_OFFSET:
            raise _no_cursor(request)
        return cursor

    def get_page_size(self, request: Request) -> int:
        """Return how many rows. Raises QueryError for what is no number from 1 to max_page_size."""
        asked = request.query_params.get("page_size")
        if asked is None:
            return self.page_size
        is_number = asked.isascii() and asked.isdecimal() and len(asked) < 6
        if not (is_number and 1 <= int(asked) <= self.max_page_size):
            raise QueryError(
                f"page_size is {asked[:20]!r}; it must be a number from 1 to {self.max_page_size}",
                field="page_size",
            )
        return int(asked)

    def links(self) -> tuple[str | None, str | None]:
        """Return where the next page is, and the one before; None at an end."""
        return self.get_next_link(), self.get_previous_link()


class LatestFirst(NewestFirst):
    """Events: by when they last happened."""

    ordering = ("-last_at", "-id")


def _no_cursor(request: Request) -> QueryError:
    asked = request.query_params.get("cursor", "")
    return QueryError(
        f"cursor is {asked[:40]!r}; take it from `next` or `previous` of an answer", field="cursor"
    )
