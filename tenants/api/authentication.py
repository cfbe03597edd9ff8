"""Who asks: a program with a token, or a member whose browser is logged in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.accounts import tokens
from tenants.accounts.models import ApiToken, Member
from tenants.http import access_brakes

if TYPE_CHECKING:  # REST framework's views import the default authentication: this module
    from rest_framework.views import APIView

_KEYWORD = "bearer"


class OperatorProgram:
    """The user behind an operator's token that belongs to no member."""

    is_authenticated = True
    is_active = True
    is_anonymous = False
    pk = None


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a request acts: everything a view reads starts from here.

    name tells principals apart in the table of idempotency keys.
    """

    member: Member | None
    is_operator: bool
    name: str


def principal_of(request: Request) -> Principal:
    """Return the principal of a request that passed authentication."""
    token = request.auth
    if isinstance(token, ApiToken):
        # The token's own flag decides: one made for an operator's shops opens only those.
        name = f"token:{token.pk}" if token.is_operator else f"member:{token.member_id}"
        return Principal(member=token.member, is_operator=token.is_operator, name=name)
    member = request.user
    if not isinstance(member, Member):
        raise exceptions.NotAuthenticated
    return Principal(member=member, is_operator=member.is_operator, name=f"member:{member.pk}")


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer stoa_<key>_<secret>`."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        """Return the token and whom it acts as; None when there is no bearer token at all."""
        keyword, _, text = request.headers.get("Authorization", "").partition(" ")
        if keyword.lower() != _KEYWORD:
            return None
        token = tokens.find(text.strip())
        if token is None:
            access_brakes.bad_token(request._request)  # noqa: SLF001 - REST framework has no other name
            raise exceptions.AuthenticationFailed(
                "This token is unknown, expired or revoked. It must look like stoa_<key>_<secret>."
            )
        tokens.touch(token)
        return token.member or OperatorProgram(), token

    def authenticate_header(self, request: Request) -> str:
        """Return what a 401 asks for."""
        return 'Bearer realm="stoa"'


class IsOperator(BasePermission):
    """Operators only."""

    message = "Only operators may see this."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Return whether the principal may act on the whole pool."""
        return (
            bool(request.user and request.user.is_authenticated)
            and principal_of(request).is_operator
        )


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI description names our tokens."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme object."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "stoa_<key>_<secret>"}
