"""Commands that make operators' logins and programs' tokens."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tenants.accounts import tokens
from tenants.accounts.models import Member
from tests.factories import make_member


def _call(*args: str, **options: Any) -> str:
    told = io.StringIO()
    call_command(*args, stdout=told, stderr=io.StringIO(), **options)
    return told.getvalue().strip()


@pytest.mark.django_db
def test_an_operator_is_made_with_a_password_that_is_shown_once_and_can_be_reset() -> None:
    first = _call("create_operator", "ops@example.com", "--random")
    member = Member.objects.get()
    assert member.is_operator
    assert member.check_password(first)
    second = _call("create_operator", "OPS@example.com", "--reset", "--random")
    member.refresh_from_db()
    assert member.check_password(second)
    assert not member.check_password(first)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("nobody",), "not an e-mail address"),
        (("known@example.com",), "already a login"),
        (("other@example.com", "--reset"), "no operator"),
        (("known@example.com", "--reset"), "no operator"),
    ],
)
def test_a_wrong_operator_is_refused_with_the_reason(args: tuple[str, ...], told: str) -> None:
    make_member("known@example.com")
    with pytest.raises(CommandError, match=told):
        _call("create_operator", *args, "--random")
    assert not Member.objects.filter(is_operator=True).exists()


@pytest.mark.django_db
def test_a_token_is_printed_alone_and_acts_as_its_member() -> None:
    member = make_member("alice@example.com")
    found = tokens.find(_call("create_token", "ci", "--member", "Alice@example.com"))
    assert found is not None
    assert (found.member, found.is_operator, found.expires_at) == (member, False, None)
    found = tokens.find(_call("create_token", "ops", "--operator", "--days", "1"))
    assert found is not None
    assert found.is_operator
    assert found.expires_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "args",
    [
        ("ci",),
        ("", "--operator"),
        ("x" * 101, "--operator"),
        ("ci", "--member", "nobody@example.com"),
        ("ci", "--operator", "--member", "x@example.com"),
        ("ci", "--operator", "--days", "0"),
    ],
)
def test_a_token_for_nobody_or_no_time_is_refused(args: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        _call("create_token", *args)
