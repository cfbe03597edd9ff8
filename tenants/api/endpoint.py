"""Declares an end point: its signature says what it takes and answers, `endpoint` says the rest."""

from collections.abc import Callable
from functools import wraps
from typing import Any, get_args, get_type_hints

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.declared import Sent, serializer_of
from tenants.api.problems import ProblemBody

Errors = dict[int, str]

WHO: Errors = {401: "No working token.", 403: "Operators only."}
ASKING: Errors = {
    401: "No token, or one that does not work.",
    404: "Not there, or not yours.",
}
BUSY: Errors = {409: "Its state, or another operation, does not allow it now."}
_WRONG: Errors = {400: "A field is wrong; `errors` says which."}

PAGED = (
    OpenApiParameter("cursor", str, description="from `next` or `previous`"),
    OpenApiParameter("page_size", int, description="1 to 200; 50 when left out"),
)
PAGE_ERRORS: Errors = {422: "A made-up cursor or parameter."}


def endpoint(
    operation_id: str,
    *,
    status: int = 200,
    errors: Errors,
    parameters: tuple[OpenApiParameter, ...] = (),
    **description: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Make a method of a view answer with the body that it returns.

    The body's class is the method's return annotation, None for no body. A method that takes a body has
    a parameter `sent: Sent[…]`. parameters: every one that may stand in the query, and headers. errors:
    what each status means, beyond 400 for a body that is wrong. description: see extend_schema.
    """

    def declare(method: Callable[..., Any]) -> Callable[..., Response]:
        hints = get_type_hints(method)
        answers: type = hints["return"]
        (takes,) = get_args(hints["sent"]) if "sent" in hints else (None,)

        @wraps(method)
        def handle(view: Any, request: Request, **path: Any) -> Response:
            if takes is not None:
                path["sent"] = Sent(takes, request)
            body = method(view, request, **path)
            return Response(body, status=status, headers=body and body.headers())

        handle.query = tuple(  # type: ignore[attr-defined]
            parameter.name
            for parameter in parameters
            if parameter.location == OpenApiParameter.QUERY
        )
        refusals = errors if takes is None else _WRONG | errors
        described: Callable[..., Response] = extend_schema(
            operation_id=operation_id,
            parameters=[*parameters],
            request=takes and serializer_of(takes),
            responses={status: None if answers is type(None) else serializer_of(answers)}
            | {
                (code, "application/problem+json"): OpenApiResponse(
                    serializer_of(ProblemBody), meaning
                )
                for code, meaning in sorted(refusals.items())
            },
            **description,
        )(handle)
        return described

    return declare
