"""Tenants, who acts for them, and what should run for them."""

from django.db import models
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.catalogue.models import App, Plan, Release
from tenants.core.ids import instance_id, tenant_id
from tenants.states import InstanceState, TenantState


class Tenant(models.Model):
    """A customer's shop; the isolation boundary.

    fence numbers every claim of an operation on this tenant, so that a late worker is refused.
    """

    public_id = models.CharField(max_length=24, unique=True, default=tenant_id)
    slug = models.CharField(max_length=40)
    shop_name = models.CharField(max_length=80)
    language = models.CharField(max_length=8, default="en")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT)
    app = models.ForeignKey(App, on_delete=models.PROTECT)
    state = models.CharField(max_length=16, choices=TenantState, default=TenantState.REQUESTED)
    state_since = models.DateTimeField(db_default=Now())
    fence = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            # A removed shop's name may be taken again; its old row stays as history.
            models.UniqueConstraint(
                fields=["slug"],
                condition=~models.Q(state=TenantState.REMOVED),
                name="one_living_tenant_per_slug",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=TenantState.values), name="tenant_state_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="tenants_newest_first"),
            models.Index(fields=["state"], name="tenants_by_state"),
            # Operators search by the beginning of a slug; a plain index answers LIKE only under "C".
            models.Index(
                fields=["slug"], opclasses=["varchar_pattern_ops"], name="tenants_by_slug_prefix"
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class FirstLogin(models.Model):
    """The shop's first-login secret: encrypted until it is shown once, then wiped.

    hash is what the shop itself gets: `sha256:<salt>:<hex>`.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="first_login")
    hash = models.CharField(max_length=200)
    ciphertext = models.BinaryField(default=b"")
    shown_at = models.DateTimeField(null=True, blank=True)


class Instance(models.Model):
    """One run of one release for one tenant; the thing that is placed."""

    public_id = models.CharField(max_length=24, unique=True, default=instance_id)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="instances")
    ordinal = models.PositiveSmallIntegerField(default=0)
    release = models.ForeignKey(Release, on_delete=models.PROTECT)
    state = models.CharField(max_length=16, choices=InstanceState, default=InstanceState.REQUESTED)
    state_since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "ordinal"],
                condition=~models.Q(state=InstanceState.RETIRED),
                name="one_living_instance_per_ordinal",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=InstanceState.values), name="instance_state_is_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["state_since"],
                condition=models.Q(state=InstanceState.DATA_MISSING),
                name="instances_without_their_data",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class Membership(models.Model):
    """A member may act for a tenant."""

    class Role(models.TextChoices):
        OWNER = "owner"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.OWNER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "member"], name="one_membership_per_member")
        ]
