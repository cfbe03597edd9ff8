"""A form sent twice is one sign-up: a double click, a reload, or the way back and again."""

from tenants.accounts.models import Member
from tenants.operations import idempotency, progress
from tenants.operations.idempotency import KeyedResult
from tenants.operations.models import Operation
from tenants.shops import signups
from tenants.shops.signups import SignUpForm

_PRINCIPAL = "form"


def sign_up_once(
    form: SignUpForm, *, token: str, member: Member | None = None, most_shops: int = 0
) -> KeyedResult:
    """Sign up once for this rendering of the form; a repeat gets the first one's operation.

    token: what the form was rendered with. Raises what signups.sign_up raises.
    """
    return idempotency.once(
        principal=_PRINCIPAL,
        key=_key(form.slug, token),
        payload=b"",
        work=lambda: signups.sign_up(form, member=member, most_shops=most_shops).operation,
    )


def posted_before(slug: str, *, token: str) -> Operation | None:
    """Return the operation that an earlier post of the same form for the same address opened."""
    return progress.posted_before(_PRINCIPAL, _key(slug, token))


def _key(slug: str, token: str) -> str:
    # The address is part of it: who goes back and asks for another shop means another shop.
    return f"{token}:{slug}"[:255]
