"""What all views of the API share: JSON whatever is accepted, texts that can be stored, a request id."""

import re
import uuid
from typing import Any

from rest_framework import exceptions
from rest_framework.authentication import SessionAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tenants.api.authentication import Principal, TokenAuthentication, principal_of
from tenants.api.declared import BodyRenderer
from tenants.errors import FieldError, QueryError
from tenants.http.strict_requests import bad_json

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class StrictJson(JSONParser):
    """JSON whose texts can all be stored."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return the parsed body. Raises FieldError naming a text that PostgreSQL cannot keep."""
        data = super().parse(stream, media_type, parser_context)
        field = bad_json(data)
        if field is not None:
            raise FieldError(
                "this contains a control character or half a character; it must be plain text in UTF-8",
                field=field or "body",
            )
        return data


class AlwaysJson(BaseContentNegotiation):
    """JSON goes out whatever a client accepts: an error in the wrong format helps nobody."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        """Return the parser for the body's media type; None makes a 415."""
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the only renderer."""
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """A view of the API."""

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    parser_classes = [StrictJson]
    renderer_classes = [BodyRenderer]
    content_negotiation_class = AlwaysJson
    metadata_class = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a parameter that this address does not have: a typing error would pass unseen."""
        super().initial(request, *args, **kwargs)
        parameters = getattr(getattr(self, str(request.method).lower(), None), "query", ())
        for name in request.query_params:
            if name not in parameters:
                known = ", ".join(parameters) or "none"
                raise QueryError(
                    f"{name[:40]!r} is not a parameter here; known are: {known}", field=name[:40]
                )

    @property
    def principal(self) -> Principal:
        """On whose behalf this request acts."""
        return principal_of(self.request)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Echo X-Request-Id, or make one up, so that both sides can find a request in their logs."""
        response = super().finalize_response(request, response, *args, **kwargs)
        asked = request.headers.get("X-Request-Id", "")
        response["X-Request-Id"] = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        response.setdefault("Cache-Control", "no-store")
        return response


class NotFoundView(ApiView):
    """Every address under /api/ that is none."""

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """404 for every method."""
        raise exceptions.NotFound("There is nothing at this address. See /api/docs/.")
