"""What programs send, checked before anything is touched."""

import re
from dataclasses import dataclass
from typing import Annotated

from django.http import QueryDict
from rest_framework.request import Request

from tenants.api.declared import About
from tenants.errors import FieldError
from tenants.shops.signups import (
    DEFAULT_APP,
    EMAIL_MAX,
    LANGUAGES,
    PASSWORD_MAX,
    SLUG_MAX,
    SignUpForm,
)
from tenants.states import DataChoice, EventKind, TenantState

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
SEARCH_MAX = 40
_WHICH_COPY = dict.fromkeys(
    ("required", "blank", "null", "invalid"),
    "snapshot is missing; give the id of a copy in the list",
)


@dataclass(frozen=True, slots=True)
class SignUpRequest:
    """A new shop. Rules about slugs, names and passwords are the service's; here are the types."""

    slug: Annotated[
        str,
        About("The shop's address is <slug>.<the platform's domain>.", max_length=SLUG_MAX),
    ]
    shop_name: Annotated[str, About(max_length=80)]
    email: Annotated[
        str,
        About(
            "Whose shop it is. A member's token may leave it out: the shop is that member's.",
            max_length=EMAIL_MAX,
        ),
    ] = ""
    password: Annotated[
        str,
        About(
            "For a login that is made with the shop; without one it is set by a reset link.",
            max_length=PASSWORD_MAX,
            write_only=True,
            trim_whitespace=False,
        ),
    ] = ""
    plan: Annotated[str, About(max_length=40)] = "starter"
    language: Annotated[str, About(choices=LANGUAGES)] = "en"
    app: Annotated[str, About(max_length=40)] = DEFAULT_APP

    def form(self) -> SignUpForm:
        """Return the checked request as the service takes it."""
        return SignUpForm(
            slug=self.slug,
            shop_name=self.shop_name,
            email=self.email,
            password=self.password,
            plan_slug=self.plan,
            language=self.language,
            app_slug=self.app,
        )


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """The copy to go back to."""

    snapshot: Annotated[str, About("snp_…", error_messages=_WHICH_COPY)]


@dataclass(frozen=True, slots=True)
class DataChoiceRequest:
    """What to do about a shop whose data is missing."""

    choice: DataChoice
    snapshot: Annotated[str, About("with copy: snp_…", allow_blank=True)] = ""
    confirm: Annotated[str, About("with empty: the shop's slug", allow_blank=True)] = ""


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """Where to."""

    to: Annotated[
        str,
        About(
            "the host's name; left out: wherever the scheduler finds best",
            max_length=32,
            allow_blank=True,
        ),
    ] = ""


def idempotency_key(request: Request) -> str:
    """Return the Idempotency-Key header; "" when there is none. Raises FieldError."""
    key = request.headers.get("Idempotency-Key", "")
    if "Idempotency-Key" in request.headers and not _KEY.fullmatch(key):
        raise FieldError(
            "Idempotency-Key must have 1 to 255 printable ASCII characters and no spaces",
            field="Idempotency-Key",
        )
    return key


def tenant_filter(query: QueryDict) -> tuple[str, str]:
    """Return the `state` and `q` of a list of tenants. Raises FieldError."""
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
    """Return the `kind` of a list of events, "" for all. Raises FieldError."""
    kind = query.get("kind", "")
    if kind and kind not in EventKind.values:
        raise FieldError(
            f"kind is {kind[:20]!r}; it must be one of {', '.join(EventKind.values)}", field="kind"
        )
    return kind
