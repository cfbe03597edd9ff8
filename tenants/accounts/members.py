"""Logins of the platform's operators. Merchants get theirs by signing up (shops/signups.py)."""

import secrets

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from tenants.accounts.models import Member
from tenants.errors import EmailTakenError, FieldError


def new_password() -> str:
    """Return a random password of 125 bits, in groups that can be typed."""
    signs = "0123456789abcdefghjkmnpqrstvwxyz"
    return "-".join("".join(secrets.choice(signs) for _ in range(5)) for _ in range(5))


@transaction.atomic
def create_operator(email: str, password: str) -> Member:
    """Create a login that may see and do everything. Raises FieldError or EmailTakenError."""
    try:
        validate_email(email)
    except ValidationError as error:
        raise FieldError(
            f"{email[:60]!r} is not an e-mail address, which looks like name@example.com",
            field="email",
        ) from error
    _check_password(email, password)
    if Member.objects.by_email(email).exists():
        raise EmailTakenError(
            f"there is already a login {email}; to give it a new password use --reset",
            field="email",
        )
    return Member.objects.create_user(email, password, is_operator=True)


def reset_operator(email: str, password: str) -> Member:
    """Give an operator's login a new password. Raises FieldError when there is no such operator."""
    member = Member.objects.by_email(email).filter(is_operator=True).first()
    if member is None:
        raise FieldError(f"there is no operator with the login {email}", field="email")
    _check_password(email, password)
    member.set_password(password)
    member.save(update_fields=["password"])
    return member


def _check_password(email: str, password: str) -> None:
    try:
        validate_password(password, Member(email=email))
    except ValidationError as error:
        raise FieldError(" ".join(error.messages), field="password") from error
