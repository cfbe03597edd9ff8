"""`manage.py api_token`: what it makes works, what it revokes does not."""

import io

import pytest
from django.core.management import CommandError, call_command

from tenants.accounts import tokens
from tenants.accounts.models import ApiToken, Member

pytestmark = pytest.mark.django_db


def _run(*args: str) -> str:
    told = io.StringIO()
    call_command("api_token", *args, stdout=told)
    return told.getvalue().strip()


def test_a_token_works_until_it_is_revoked() -> None:
    text = _run("create", "robot")
    found = tokens.find(text)
    assert found is not None
    assert found.is_operator
    assert found.key_id in _run("list")
    _run("revoke", found.key_id)
    assert tokens.find(text) is None
    assert "robot" not in _run("list")


def test_a_member_s_token_acts_as_that_member_only() -> None:
    member = Member.objects.create_user("ann@example.com", "a long password 1")
    found = tokens.find(_run("create", "till", "--member", "ANN@example.com", "--days", "3"))
    assert found is not None
    assert (found.member, found.is_operator) == (member, False)
    assert found.expires_at is not None


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("create", "x", "--member", "nobody@example.com"), "nobody@example.com"),
        (("create", "x", "--days", "0"), "--days"),
        (("revoke", "000000000000"), "000000000000"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_made(args: tuple[str, ...], named: str) -> None:
    with pytest.raises(CommandError, match=named):
        _run(*args)
    assert not ApiToken.objects.exists()
