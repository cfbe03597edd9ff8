"""Tokens are kept as hashes and stop working when they should."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from tenants.accounts import tokens
from tenants.accounts.models import ApiToken, Member
from tests.factories import make_member


@pytest.mark.django_db
def test_a_token_is_found_by_its_text_and_its_secret_is_kept_nowhere() -> None:
    made = tokens.create("ci", is_operator=True)
    found = tokens.find(made.text)
    assert found == made.token
    secret = made.text.rpartition("_")[2]
    row = ApiToken.objects.values().get()
    assert not any(secret in str(value) for value in row.values())


@pytest.mark.django_db
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: text.upper(),
        lambda text: text.replace("stoa_", "", 1),
        lambda text: "stoa_" + "0" * 12 + "_" + text[-38:],
        lambda _: "",
        lambda _: "stoa_\0",
    ],
)
def test_anything_but_the_whole_token_is_nothing(spoil: object) -> None:
    text = tokens.create("ci", is_operator=True).text
    assert tokens.find(spoil(text)) is None  # type: ignore[operator]


@pytest.mark.django_db
def test_expired_and_revoked_tokens_and_those_of_inactive_members_do_not_work() -> None:
    member = make_member()
    expired = tokens.create("a", member=member, lifetime=timedelta(days=1))
    revoked = tokens.create("b", member=member)
    other = tokens.create("c", member=member)
    assert tokens.find(expired.text)
    ApiToken.objects.filter(pk=expired.token.pk).update(expires_at=Now())
    tokens.revoke(revoked.token)
    assert tokens.find(expired.text) is None
    assert tokens.find(revoked.text) is None
    assert tokens.find(other.text)
    Member.objects.update(is_active=False)
    assert tokens.find(other.text) is None


@pytest.mark.django_db
def test_use_is_noted_at_most_once_a_minute() -> None:
    made = tokens.create("ci", is_operator=True)
    tokens.touch(tokens.find(made.text) or made.token)
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    tokens.touch(tokens.find(made.text) or made.token)
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    tokens.touch(tokens.find(made.text) or made.token)
    assert ApiToken.objects.get().last_used_at != first - timedelta(minutes=2)
