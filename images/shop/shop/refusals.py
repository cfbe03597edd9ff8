"""The pages that say what went wrong and what to do, in the visitor's language."""

from __future__ import annotations

from .layout import page
from .messages import Response
from .visit import Visit

_OWN_WORDS = (403, 404, 413, 429, 503, 507)


def refusal(visit: Visit, status: int) -> Response:
    """The page for a status that is not 200."""
    key = status if status in _OWN_WORDS else 500 if status >= 500 else 400
    body = (
        f'<div class="empty"><h1>{visit.say(f"e{key}")}</h1><p>{visit.say(f"e{key}_help")}</p>'
        f'<p><a class="button quiet" href="/">{visit.say("to_shelf")}</a></p></div>'
    )
    return visit.answer(page(visit, visit.say(f"e{key}"), body), status, private=True)
