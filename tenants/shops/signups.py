"""A sign-up: the tenant, its owner, its instance and the operation that sets it up, in one go."""

import re
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from tenants.accounts.models import Member
from tenants.catalogue.models import Plan, Release
from tenants.core.models import FreezeSwitch
from tenants.errors import (
    EmailTakenError,
    FieldError,
    FrozenError,
    NoRoomError,
    SlugTakenError,
    TooManyShopsError,
)
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement import bookings, shortages
from tenants.shops import first_logins, repeats
from tenants.shops.models import Instance, Membership, Tenant
from tenants.shops.reserved_names import RESERVED_SLUGS
from tenants.states import OperationState, TenantState, Verb

SLUG_MIN, SLUG_MAX = 3, 40
EMAIL_MAX = 254
PASSWORD_MAX = 128  # hashing takes time and memory with the length
LANGUAGES = ("en", "ja")
DEFAULT_APP = "shop"
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class SignUpForm:
    """What a merchant or a program asks for. password "" leaves the login without one."""

    slug: str
    shop_name: str
    email: str = ""
    password: str = ""
    plan_slug: str = "starter"
    language: str = "en"
    app_slug: str = DEFAULT_APP


@dataclass(frozen=True, slots=True)
class SignUp:
    """What came of it."""

    tenant: Tenant
    operation: Operation
    member: Member


def check_slug(slug: str) -> None:
    """Raise FieldError when slug cannot be an address, SlugTakenError when somebody has it."""
    if not SLUG_MIN <= len(slug) <= SLUG_MAX:
        raise FieldError(
            _("The address “%(slug)s” must have %(least)d to %(most)d characters.")
            % {"slug": slug[:60], "least": SLUG_MIN, "most": SLUG_MAX},
            field="slug",
        )
    if not _SLUG.fullmatch(slug):
        raise FieldError(
            _("The address “%(slug)s” may hold only a–z, 0–9 and single hyphens between them.")
            % {"slug": slug},
            field="slug",
        )
    if slug in RESERVED_SLUGS or slug.startswith("xn--") or _is_ours(slug):
        raise FieldError(
            _("The address “%(slug)s” is kept for the platform. Please choose another one.")
            % {"slug": slug},
            field="slug",
        )
    if Tenant.objects.filter(slug=slug).exclude(state=TenantState.REMOVED).exists():
        raise _taken(slug)


def _is_ours(slug: str) -> bool:
    """Return whether the shop's host name would be one that the platform itself answers to."""
    hostname = f"{slug}.{settings.STOA_DOMAIN}".lower()
    return any(
        hostname == name or (name.startswith(".") and f".{hostname}".endswith(name))
        for name in (settings.STOA_CONSOLE_HOST, *settings.ALLOWED_HOSTS)
    )


def sign_up(form: SignUpForm, *, member: Member | None = None, most_shops: int = 0) -> SignUp:
    """Check the form, then write tenant, owner, instance, secret and operation in one transaction.

    member: who is logged in already; without one a login is made for form.email. Whose shop of this
    address could not be set up tries that again: its address is kept for its owner, not from them.
    most_shops: the living shops that member may have (0: any number; an operator opens this one).
    Raises FieldError (or a subclass), FrozenError while an operator has stopped new placements,
    TooManyShopsError, or NoRoomError, which names the scarce resource, when every host is full.
    """
    again = _failed_before(form.slug, member) if member is not None else None
    form = _checked(form, needs_login=member is None, is_new=again is None)
    plan = Plan.objects.filter(slug=form.plan_slug, is_public=True).first()
    if plan is None:
        raise FieldError(
            _("There is no plan “%(plan)s”.") % {"plan": form.plan_slug[:60]}, field="plan"
        )
    release = (
        Release.objects.filter(app__slug=form.app_slug)
        .select_related("app")
        .order_by("-number")
        .first()
    )
    if release is None:
        raise FieldError(_("There is no app “%(app)s”.") % {"app": form.app_slug[:60]}, field="app")
    if FreezeSwitch.objects.filter(name=FreezeSwitch.Name.PLACEMENTS, is_on=True).exists():
        raise FrozenError(_("New shops cannot be opened right now. Please try again in a while."))
    try:
        if again is not None:
            return _try_again(form, plan, release, again, member)
        return _write(form, plan, release, member, most_shops)
    except NoRoomError:
        shortages.refused(release.app_id, plan.pk)  # here, as what the transaction wrote is gone
        raise
    except IntegrityError as error:
        # Somebody else was faster between the look above and now; the database tells who lost.
        constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "")
        if constraint == "one_living_tenant_per_slug":
            raise _taken(form.slug) from error
        if constraint == "one_login_per_email":
            raise _email_taken() from error
        raise


def _failed_before(slug: str, member: Member) -> Operation | None:
    """Return the member's own sign-up of this address that did not succeed, if it can be tried again."""
    return (
        Operation.objects.filter(
            tenant__slug=slug,
            tenant__state=TenantState.FAILED,
            tenant__memberships__member=member,
            verb=Verb.PROVISION,
            state=OperationState.FAILED,
        )
        .select_related("tenant")
        .order_by("-pk")
        .first()
    )


@transaction.atomic
def _try_again(
    form: SignUpForm, plan: Plan, release: Release, failed: Operation, member: Member | None
) -> SignUp:
    shortages.check(release.app, plan, bookings.cold_booking(release, plan))
    repeats.retry(failed)
    tenant = Tenant.objects.get(pk=failed.tenant_id)
    tenant.shop_name, tenant.language, tenant.plan = form.shop_name.strip(), form.language, plan
    tenant.save(update_fields=["shop_name", "language", "plan"])
    operation = Operation.objects.get(pk=failed.pk)
    operation.tenant = tenant
    owner = member or tenant.memberships.select_related("member").get().member
    return SignUp(tenant=tenant, operation=operation, member=owner)


@transaction.atomic
def _write(
    form: SignUpForm, plan: Plan, release: Release, member: Member | None, most_shops: int
) -> SignUp:
    shortages.check(release.app, plan, bookings.cold_booking(release, plan))
    if member is not None and most_shops:
        _check_number_of_shops(member, most_shops)
    owner = member or Member.objects.create_user(
        form.email, form.password or None, language=form.language
    )
    tenant = Tenant.objects.create(
        slug=form.slug,
        shop_name=form.shop_name.strip(),
        language=form.language,
        plan=plan,
        app=release.app,
    )
    Membership.objects.create(tenant=tenant, member=owner)
    first_logins.create(tenant)
    instance = Instance.objects.create(tenant=tenant, release=release)
    operation = operations.open_operation(instance, Verb.PROVISION, requested_by=owner)
    operation.tenant = tenant
    return SignUp(tenant=tenant, operation=operation, member=owner)


def _check_number_of_shops(member: Member, most: int) -> None:
    # Locked, so that sign-ups of one member at the same moment count each other.
    Member.objects.select_for_update().get(pk=member.pk)
    living = member.memberships.exclude(tenant__state=TenantState.REMOVED)[:most].count()
    if living >= most:
        raise TooManyShopsError(
            _(
                "You have %(most)d shops, as many as one login may open. Remove one first, or ask us."
            )
            % {"most": most}
        )


def _checked(form: SignUpForm, *, needs_login: bool, is_new: bool) -> SignUpForm:
    if is_new:
        check_slug(form.slug)
    if not 1 <= len(form.shop_name.strip()) <= 80 or not form.shop_name.isprintable():
        raise FieldError(
            _("The shop's name must have 1 to 80 printable characters."), field="shop_name"
        )
    if form.language not in LANGUAGES:
        raise FieldError(
            _("The language “%(language)s” must be en or ja.") % {"language": form.language[:20]},
            field="language",
        )
    if needs_login:
        _check_login(form)
    return form


def _check_login(form: SignUpForm) -> None:
    try:
        validate_email(form.email if len(form.email) <= EMAIL_MAX else "")
    except ValidationError as error:
        raise FieldError(
            _("“%(email)s” is not an e-mail address, which looks like name@example.com.")
            % {"email": form.email[:60]},
            field="email",
        ) from error
    if len(form.password) > PASSWORD_MAX:
        raise FieldError(
            _("The password has %(length)d characters; it may have at most %(most)d.")
            % {"length": len(form.password), "most": PASSWORD_MAX},
            field="password",
        )
    if form.password:
        try:
            validate_password(form.password, Member(email=form.email))
        except ValidationError as error:
            raise FieldError(" ".join(error.messages), field="password") from error
    if Member.objects.by_email(form.email).exists():
        raise _email_taken()


def _taken(slug: str) -> SlugTakenError:
    return SlugTakenError(
        _("The address “%(slug)s” is taken. Please choose another one.") % {"slug": slug},
        field="slug",
    )


def _email_taken() -> EmailTakenError:
    return EmailTakenError(
        _("There is already a login with this e-mail address. Log in to open another shop."),
        field="email",
    )
