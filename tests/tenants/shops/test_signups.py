"""What a sign-up refuses and why, and that what it writes is all or nothing."""

from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from tenants.accounts.models import Member
from tenants.core import freezes
from tenants.errors import (
    EmailTakenError,
    FieldError,
    FrozenError,
    NoRoomError,
    SlugTakenError,
    TenantsError,
)
from tenants.operations import attempts, idempotency, leases
from tenants.operations.models import Operation
from tenants.shops import removals, signups
from tenants.shops.models import Instance, Membership, Tenant
from tenants.shops.reserved_names import RESERVED_SLUGS
from tenants.shops.signups import SignUp, SignUpForm
from tenants.states import TenantState, Verb
from tests.factories import make_catalogue, make_host, make_member, make_shop, race

FORM = SignUpForm(slug="acme", shop_name="Acme", email="owner@example.com")


@pytest.fixture
def catalogue(db: None) -> None:
    """A plan and an app."""
    make_catalogue()


@pytest.mark.usefixtures("catalogue")
def test_a_sign_up_writes_owner_shop_instance_secret_and_operation() -> None:
    made = signups.sign_up(FORM)
    assert Membership.objects.get().member == made.member
    assert made.member.email == "owner@example.com"
    assert not made.member.has_usable_password()
    assert Instance.objects.get().release.number == 1
    assert made.tenant.first_login.hash.startswith("sha256:")
    assert made.operation.verb == Verb.PROVISION


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "ab"}, "slug"),
        ({"slug": "a" * 41}, "slug"),
        ({"slug": "Acme"}, "slug"),
        ({"slug": "-acme"}, "slug"),
        ({"slug": "acme-"}, "slug"),
        ({"slug": "ac--me"}, "slug"),
        ({"slug": "acme\n"}, "slug"),
        ({"slug": "ac.me"}, "slug"),
        ({"slug": "ácme"}, "slug"),
        ({"slug": "xn--acme"}, "slug"),
        ({"slug": "admin"}, "slug"),
        ({"shop_name": ""}, "shop_name"),
        ({"shop_name": "   "}, "shop_name"),
        ({"shop_name": "a" * 81}, "shop_name"),
        ({"shop_name": "a\0b"}, "shop_name"),
        ({"email": ""}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": "a" * 250 + "@example.com"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password1234"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"plan_slug": "gold"}, "plan"),
        ({"language": "tlh"}, "language"),
        ({"app_slug": "games"}, "app"),
    ],
)
def test_bad_input_is_refused_by_field_before_anything_is_written(
    changes: dict[str, str], field: str
) -> None:
    with pytest.raises(FieldError) as caught:
        signups.sign_up(replace(FORM, **changes))
    assert caught.value.field == field
    assert caught.value.status == 400
    assert not Tenant.objects.exists()
    assert not Member.objects.exists()


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("slug", ["abc", "a1b", "a-b", "123", "a" * 40])
def test_good_addresses_are_taken(slug: str) -> None:
    assert signups.sign_up(replace(FORM, slug=slug)).tenant.slug == slug


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("slug", sorted(word for word in RESERVED_SLUGS if len(word) >= 3))
def test_reserved_words_are_refused(slug: str) -> None:
    with pytest.raises(FieldError, match=r"kept for the platform|single hyphens"):
        signups.check_slug(slug)


@pytest.mark.usefixtures("catalogue")
def test_a_taken_address_and_a_known_e_mail_are_told_apart() -> None:
    signups.sign_up(FORM)
    with pytest.raises(SlugTakenError):
        signups.sign_up(replace(FORM, email="other@example.com"))
    with pytest.raises(EmailTakenError):
        signups.sign_up(replace(FORM, slug="other", email="Owner@EXAMPLE.com"))


@pytest.mark.usefixtures("catalogue")
def test_a_member_opens_another_shop_without_another_login() -> None:
    member = make_member()
    made = signups.sign_up(replace(FORM, email=""), member=member)
    assert made.member == member
    assert Member.objects.count() == 1


@pytest.mark.usefixtures("catalogue")
def test_a_removed_shops_address_can_be_taken_again() -> None:
    first = signups.sign_up(FORM).tenant
    lease = leases.claim(removals.request(first).pk, owner="worker")
    assert lease is not None
    with pytest.raises(SlugTakenError):
        signups.check_slug("acme")
    attempts.succeed(lease)
    removals.record_removed(Tenant.objects.get(), Instance.objects.get())
    second = signups.sign_up(replace(FORM, email="other@example.com")).tenant
    assert second.pk != first.pk
    assert Tenant.objects.get(pk=first.pk).state == TenantState.REMOVED


@pytest.mark.usefixtures("catalogue")
def test_no_shop_is_opened_while_placements_are_frozen() -> None:
    freezes.set_switch("placements", is_on=True, reason="disk swap", changed_by="ops@example.com")
    with pytest.raises(FrozenError):
        signups.sign_up(FORM)
    freezes.set_switch("placements", is_on=False, reason="", changed_by="ops@example.com")
    signups.sign_up(FORM)


@pytest.mark.usefixtures("catalogue")
def test_a_full_pool_is_told_at_once_and_keeps_the_address_free() -> None:
    make_host(cpu_millis=5)
    with pytest.raises(NoRoomError):
        signups.sign_up(FORM)
    signups.check_slug("acme")


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("name", "is_on", "reason", "field"),
    [("everything", True, "x", "name"), ("placements", True, "  ", "reason")],
)
def test_a_switch_needs_a_name_that_exists_and_a_reason(
    name: str, is_on: bool, reason: str, field: str
) -> None:
    with pytest.raises(FieldError) as caught:
        freezes.set_switch(name, is_on=is_on, reason=reason, changed_by="x")
    assert caught.value.field == field


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("changes", "error"),
    [({"email": "other@example.com"}, SlugTakenError), ({"slug": "other"}, EmailTakenError)],
)
def test_of_two_at_once_one_gets_the_address_and_the_other_is_told_what_is_taken(
    changes: dict[str, str], error: type[TenantsError]
) -> None:
    make_catalogue()
    found = race(lambda: signups.sign_up(FORM), lambda: signups.sign_up(replace(FORM, **changes)))
    assert sorted(type(one).__name__ for one in found) == sorted(["SignUp", error.__name__])
    assert (Tenant.objects.count(), Member.objects.count(), Operation.objects.count()) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_same_idempotency_key_at_once_is_one_sign_up() -> None:
    make_catalogue()

    def post() -> idempotency.KeyedResult:
        return idempotency.once(
            principal="p",
            key="k",
            payload=b"same",
            work=lambda: signups.sign_up(FORM).operation,
        )

    found = race(*(post for _ in range(4)))
    assert sorted(one.is_repeat for one in found) == [False, True, True, True]  # type: ignore[union-attr]
    assert len({one.operation for one in found}) == 1  # type: ignore[union-attr]


@pytest.mark.django_db(transaction=True)
def test_a_sign_up_that_fails_leaves_its_idempotency_key_unused() -> None:
    make_catalogue()
    with pytest.raises(FieldError):
        idempotency.once(
            principal="p",
            key="k",
            payload=b"x",
            work=lambda: signups.sign_up(replace(FORM, slug="no")).operation,
        )
    answer = idempotency.once(
        principal="p", key="k", payload=b"y", work=lambda: signups.sign_up(FORM).operation
    )
    assert answer.is_repeat is False


@pytest.mark.django_db
def test_a_made_shop_is_a_sign_up() -> None:
    assert isinstance(make_shop(), SignUp)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changed",
    [
        {"STOA_DOMAIN": "example.test", "STOA_CONSOLE_HOST": "portal.example.test"},
        {"STOA_DOMAIN": "example.test", "ALLOWED_HOSTS": ["portal.example.test"]},
        {"STOA_DOMAIN": "Example.test", "ALLOWED_HOSTS": [".portal.example.test"]},
    ],
)
def test_a_name_that_the_platform_itself_answers_to_is_refused(
    settings: Settings, changed: dict[str, Any]
) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    with pytest.raises(FieldError, match="portal"):
        signups.check_slug("portal")
    signups.check_slug("portal2")
