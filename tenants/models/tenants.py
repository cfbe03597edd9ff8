"""Tenants, what should run for them, and where it does."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.models.catalogue import App, Plan, Release
from tenants.models.hosts import Host
from tenants.models.ids import instance_id, tenant_id
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


class Placement(models.Model):
    """Instance X is on host H since T, booked at this demand, published at this port, and why.

    shape: the processor (millicores) and the network (bytes a second) by hours of the day: 24 means and
    24 swings of each, in the order of workers.scheduler.load; empty for cpu_millis all day long.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="placements")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="placements")
    port = models.PositiveIntegerField()
    cpu_millis = models.FloatField()
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    shape = ArrayField(models.FloatField(), default=list, blank=True)
    booked_at = models.DateTimeField(db_default=Now())
    reasons = models.JSONField(default=list)
    since = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance"],
                condition=models.Q(until__isnull=True),
                name="one_open_placement_per_instance",
            ),
            models.UniqueConstraint(
                fields=["host", "port"],
                condition=models.Q(until__isnull=True),
                name="one_open_placement_per_port",
            ),
        ]
        indexes = [
            models.Index(
                fields=["host"],
                condition=models.Q(until__isnull=True),
                name="open_placements_by_host",
            )
        ]


class Route(models.Model):
    """Hostname → where its requests go. value is the edge map's value, "" once withdrawn.

    sequence is drawn under the tenant's row lock, so it also orders the changes of one hostname,
    even when a removed shop's name is taken by another tenant: edges ignore lower ones.
    """

    hostname = models.CharField(max_length=253, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="routes")
    value = models.CharField(max_length=120, blank=True)
    sequence = models.PositiveBigIntegerField(unique=True)
    changed_at = models.DateTimeField(db_default=Now())
