"""What programs send, checked before anything is touched."""

import re

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from tenants.errors import FieldError
from tenants.services.signups import (
    DEFAULT_APP,
    EMAIL_MAX,
    LANGUAGES,
    PASSWORD_MAX,
    SLUG_MAX,
    SignUpForm,
)
from tenants.states import EventKind, TenantState

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
SEARCH_MAX = 40


class SignUpRequest(serializers.Serializer[SignUpForm]):
    """A new shop. Rules about slugs, names and passwords are the service's; here are the types."""

    slug = serializers.CharField(
        max_length=SLUG_MAX, help_text="The shop's address is <slug>.<the platform's domain>."
    )
    shop_name = serializers.CharField(max_length=80)
    email = serializers.CharField(
        max_length=EMAIL_MAX,
        required=False,
        default="",
        help_text="Whose shop it is. A member's token may leave it out: the shop is that member's.",
    )
    password = serializers.CharField(
        max_length=PASSWORD_MAX,
        required=False,
        default="",
        write_only=True,
        trim_whitespace=False,
        help_text="For a login that is made with the shop; without one it is set by a reset link.",
    )
    plan = serializers.CharField(max_length=40, required=False, default="starter")
    language = serializers.ChoiceField(choices=LANGUAGES, required=False, default="en")
    app = serializers.CharField(max_length=40, required=False, default=DEFAULT_APP)

    def form(self) -> SignUpForm:
        """The checked request as the service takes it."""
        sent = self.validated_data
        return SignUpForm(
            slug=sent["slug"],
            shop_name=sent["shop_name"],
            email=sent["email"],
            password=sent["password"],
            plan_slug=sent["plan"],
            language=sent["language"],
            app_slug=sent["app"],
        )


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key header; "" when there is none. Raises FieldError."""
    key = request.headers.get("Idempotency-Key", "")
    if "Idempotency-Key" in request.headers and not _KEY.fullmatch(key):
        raise FieldError(
            "Idempotency-Key must have 1 to 255 printable ASCII characters and no spaces",
            field="Idempotency-Key",
        )
    return key


def tenant_filter(query: QueryDict) -> tuple[str, str]:
    """The `state` and `q` of a list of tenants. Raises FieldError."""
    state, search = query.get("state", ""), query.get("q", "")
    if state and state not in TenantState.values:
        raise FieldError(
            f"state is {state[:20]!r}; it must be one of {', '.join(TenantState.values)}",
            field="state",
        )
    if len(search) > SEARCH_MAX or not all(
        c.isascii() and (c.isalnum() or c == "-") for c in search
    ):
        raise FieldError(
            f"q must be the beginning of a slug: at most {SEARCH_MAX} of a-z, 0-9 and -", field="q"
        )
    return state, search.lower()


def event_filter(query: QueryDict) -> str:
    """The `kind` of a list of events, "" for all. Raises FieldError."""
    kind = query.get("kind", "")
    if kind and kind not in EventKind.values:
        raise FieldError(
            f"kind is {kind[:20]!r}; it must be one of {', '.join(EventKind.values)}", field="kind"
        )
    return kind
