"""What the OpenAPI description says of each end point. Serializers here describe, they do no work."""

from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    inline_serializer,
)
from rest_framework import serializers as s

from tenants.api.requests import SignUpRequest
from tenants.states import EventKind, OperationState, StepState, TenantState, Verb


def described(name: str, fields: Any, *, many: bool = False) -> Any:
    """An object of the description."""
    return inline_serializer(name, fields=fields, many=many)


# One object for each: two with the same name would be two schemas.
_WORDS = described("Words", {"en": s.CharField(), "ja": s.CharField()})
_PROBLEM = described(
    "Problem",
    {
        "type": s.CharField(),
        "title": s.CharField(),
        "status": s.IntegerField(),
        "detail": s.CharField(),
        "instance": s.CharField(),
        "code": s.CharField(help_text="stable; programs decide by this"),
        "errors": described(
            "FieldError", {"field": s.CharField(), "message": s.CharField()}, many=True
        ),
    },
)
_TENANT = described(
    "Tenant",
    {
        "id": s.CharField(),
        "slug": s.CharField(),
        "shop_name": s.CharField(),
        "address": s.URLField(),
        "admin_address": s.URLField(),
        "language": s.CharField(),
        "plan": s.CharField(),
        "app": s.CharField(),
        "state": s.ChoiceField(choices=TenantState.choices),
        "state_since": s.DateTimeField(),
        "data_missing_since": s.DateTimeField(
            allow_null=True,
            help_text="since when the shop is not started because its data is missing; see …/data",
        ),
        "is_answering": s.BooleanField(
            help_text="whether it is live and gives visitors an answer, asked every half minute"
        ),
        "created_at": s.DateTimeField(),
    },
)
_STEP = described(
    "Step",
    {
        "name": s.CharField(),
        "label": s.CharField(help_text="for people, in the language of Accept-Language"),
        "state": s.ChoiceField(choices=StepState.choices),
        "detail": s.CharField(help_text="for operators; empty for members"),
        "started_at": s.DateTimeField(allow_null=True),
        "finished_at": s.DateTimeField(allow_null=True),
        "seconds": s.FloatField(allow_null=True, help_text="null until it has ended"),
    },
    many=True,
)
_OPERATION = described(
    "Operation",
    {
        "id": s.CharField(),
        "verb": s.ChoiceField(choices=Verb.choices),
        "state": s.ChoiceField(choices=OperationState.choices),
        "tenant": s.CharField(help_text="slug"),
        "tenant_id": s.CharField(),
        "attempts": s.IntegerField(),
        "waiting": described(
            "OperationWaiting",
            {
                "for": s.CharField(
                    help_text="a_slot: for its turn to start; else what is not there"
                ),
                "ahead": s.IntegerField(
                    allow_null=True, help_text="who start before it; above 20 rounded up"
                ),
                "seconds": s.IntegerField(
                    allow_null=True, help_text="until it starts, about; null when that is not known"
                ),
                "since": s.DateTimeField(),
                "told": s.CharField(help_text="for operators; empty for members"),
            },
        ),
        "cancel_requested": s.BooleanField(),
        "error": described(
            "OperationError",
            {"code": s.CharField(), "message": s.CharField()},
        ),
        "created_at": s.DateTimeField(),
        "started_at": s.DateTimeField(allow_null=True),
        "finished_at": s.DateTimeField(allow_null=True),
        "seconds": s.FloatField(allow_null=True, help_text="from being asked for to its end"),
        "steps": _STEP,
    },
)
_OPERATION.fields["error"].allow_null = True
_OPERATION.fields["waiting"].allow_null = True
_LINKS = described(
    "Links",
    {
        "operation": s.CharField(),
        "tenant": s.CharField(),
        "page": s.CharField(help_text="the page that shows the operation live"),
    },
)
_ACCEPTED = described("Accepted", {"operation": _OPERATION, "links": _LINKS})
_SIGN_UP_ACCEPTED = described(
    "SignUpAccepted", {"tenant": _TENANT, "operation": _OPERATION, "links": _LINKS}
)
_TENANT_PAGE = described(
    "TenantPage",
    {
        "next": s.URLField(allow_null=True),
        "previous": s.URLField(allow_null=True),
        "results": s.ListField(child=_TENANT),
    },
)
_EVENT = described(
    "Event",
    {
        "id": s.IntegerField(),
        "kind": s.ChoiceField(choices=EventKind.choices),
        "label": s.CharField(help_text="for people, in the language of Accept-Language"),
        "advice": s.CharField(help_text="what it means and what to do"),
        "instance": s.CharField(),
        "count": s.IntegerField(help_text="how many times, from first_at to last_at"),
        "first_at": s.DateTimeField(),
        "last_at": s.DateTimeField(),
        "ended_at": s.DateTimeField(allow_null=True, help_text="null while it lasts or may repeat"),
        "details": described(
            "EventDetails",
            {
                "exit_code": s.IntegerField(
                    required=False,
                    allow_null=True,
                    help_text="128 + signal for one that was killed",
                ),
                "last_lines": s.ListField(
                    child=s.CharField(), required=False, help_text="what the program logged last"
                ),
                "percent": s.IntegerField(
                    required=False, help_text="share of the time it was held back"
                ),
            },
        ),
    },
)
_EVENT_PAGE = described(
    "EventPage",
    {
        "next": s.URLField(allow_null=True),
        "previous": s.URLField(allow_null=True),
        "results": s.ListField(child=_EVENT),
    },
)
_FIRST_LOGIN = described("FirstLogin", {"secret": s.CharField(), "admin_address": s.URLField()})
_PLAN = described(
    "Plan",
    {
        "slug": s.CharField(),
        "name": _WORDS,
        "summary": _WORDS,
        "price_minor": s.IntegerField(help_text="per month, in the currency's minor unit"),
        "currency": s.CharField(),
        "cpu_millis": s.IntegerField(),
        "memory_bytes": s.IntegerField(),
        "pids": s.IntegerField(),
        "disk_bytes": s.IntegerField(),
    },
    many=True,
)


def problems(**meanings: str) -> dict[Any, OpenApiResponse]:
    """Error answers: _404="what it means", …"""
    return {
        (int(status[1:]), "application/problem+json"): OpenApiResponse(_PROBLEM, description)
        for status, description in meanings.items()
    }


_ASKING = problems(_401="No token, or one that does not work.", _404="Not there, or not yours.")
_BUSY = problems(_409="Its state, or another operation, does not allow it now.")

LIST_TENANTS: dict[str, Any] = {
    "operation_id": "tenants_list",
    "parameters": [
        OpenApiParameter("state", str, enum=list(TenantState.values)),
        OpenApiParameter("q", str, description="the beginning of a slug"),
        OpenApiParameter("cursor", str, description="from `next` or `previous`"),
        OpenApiParameter("page_size", int, description="1 to 200; 50 when left out"),
    ],
    "responses": {200: _TENANT_PAGE}
    | problems(
        _400="A bad filter.", _401="No working token.", _422="A made-up cursor or parameter."
    ),
}
LIST_EVENTS: dict[str, Any] = {
    "operation_id": "tenants_events_list",
    "parameters": [
        OpenApiParameter("kind", str, enum=list(EventKind.values)),
        OpenApiParameter("cursor", str, description="from `next` or `previous`"),
        OpenApiParameter("page_size", int, description="1 to 200; 50 when left out"),
    ],
    "responses": {200: _EVENT_PAGE}
    | problems(_400="A bad filter.", _422="A made-up cursor or parameter.")
    | _ASKING,
}
CREATE_TENANT: dict[str, Any] = {
    "operation_id": "tenants_create",
    "parameters": [
        OpenApiParameter(
            "Idempotency-Key",
            str,
            OpenApiParameter.HEADER,
            description="Repeat a request with the same key and the same body, and it is one sign-up.",
        )
    ],
    "request": SignUpRequest,
    "examples": [
        OpenApiExample(
            "A shop",
            value={"slug": "acme", "shop_name": "Acme", "email": "owner@example.com"},
            request_only=True,
        )
    ],
    "responses": {202: _SIGN_UP_ACCEPTED}
    | problems(
        _400="A field is wrong; `errors` says which.",
        _401="No token, or one that does not work.",
        _409="The address is taken.",
        _422="The Idempotency-Key came before with another body.",
        _429="Too many sign-ups; see Retry-After.",
        _503="No room, or new shops are stopped; see Retry-After.",
    ),
}
GET_TENANT: dict[str, Any] = {
    "operation_id": "tenants_get",
    "responses": {200: _TENANT} | _ASKING,
}
DELETE_TENANT: dict[str, Any] = {
    "operation_id": "tenants_delete",
    "responses": {202: _ACCEPTED} | _ASKING | _BUSY,
}
FIRST_LOGIN: dict[str, Any] = {
    "operation_id": "tenants_first_login",
    "request": None,
    "responses": {200: _FIRST_LOGIN} | _ASKING | _BUSY,
}
GET_OPERATION: dict[str, Any] = {
    "operation_id": "operations_get",
    "responses": {200: _OPERATION} | _ASKING,
}
RETRY_OPERATION: dict[str, Any] = {
    "operation_id": "operations_retry",
    "request": None,
    "responses": {202: _ACCEPTED} | _ASKING | _BUSY,
}
CANCEL_OPERATION: dict[str, Any] = {
    "operation_id": "operations_cancel",
    "request": None,
    "responses": {202: _ACCEPTED} | _ASKING | _BUSY,
}
LIST_PLANS: dict[str, Any] = {
    "operation_id": "plans_list",
    "auth": [],
    "responses": {200: described("Plans", {"results": _PLAN})},
}

# For the descriptions beside this one.
ACCEPTED, ASKING, BUSY = _ACCEPTED, _ASKING, _BUSY
