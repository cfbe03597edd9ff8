"""Pages by key, newest first: nothing is counted, and new rows do not shift what is read."""

from typing import Any

from rest_framework.pagination import CursorPagination
from rest_framework.response import Response


class NewestFirst(CursorPagination):
    """`{next, previous, results}`; `page_size` up to 200."""

    ordering = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_paginated_response(self, data: Any) -> Response:
        """The page, with the next one also in a Link header."""
        response = super().get_paginated_response(data)
        if following := self.get_next_link():
            response["Link"] = f'<{following}>; rel="next"'
        return response


class LatestFirst(NewestFirst):
    """Events: by when they last happened."""

    ordering = ("-last_at", "-id")
