"""What was learnt of use: profiles of instances, priors for those too new for one, days of the pool."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.models.catalogue import App, Plan
from tenants.models.hosts import Host
from tenants.models.tenants import Instance


class InstanceProfile(models.Model):
    """What one instance was seen to use, folded together window by window; one packed row each.

    packed: the bytes of the scheduler's own form. app and plan are those of the instance's tenant, so
    that the profiles of one kind are found by an index. is_mature: seen for long enough to tell others.
    """

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="profile"
    )
    app = models.ForeignKey(App, on_delete=models.CASCADE)
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE)
    packed = models.BinaryField()
    windows = models.PositiveIntegerField(default=0)
    is_mature = models.BooleanField(default=False)
    folded_until = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["app", "plan", "-instance"],
                condition=models.Q(is_mature=True),
                name="mature_profiles_of_a_kind",
            )
        ]


class HostWeek(models.Model):
    """What a host's recorded week differs from the daily shapes booked there; folded once an hour.

    beyond: the bytes of the scheduler's own form (workers.scheduler.history), of what was placed there at
    `at`. Whoever writes it writes the host's row too: readers look at that row's version alone.
    """

    host = models.OneToOneField(
        Host, on_delete=models.CASCADE, primary_key=True, related_name="week"
    )
    beyond = models.BinaryField()
    at = models.DateTimeField(db_default=Now())


class Prior(models.Model):
    """What an instance of this app on this plan is expected to use before it has been measured itself.

    shape: as Placement.shape, empty for the same all day.
    """

    app = models.ForeignKey(App, on_delete=models.CASCADE)
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE)
    cpu_millis = models.FloatField()
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    shape = ArrayField(models.FloatField(), default=list, blank=True)
    is_early = models.BooleanField(
        default=False, help_text="from a look at the first ones; none was seen for a day yet"
    )
    instances = models.PositiveIntegerField(help_text="from how many profiles")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["app", "plan"], name="one_prior_per_app_and_plan")
        ]


class Shortage(models.Model):
    """There is no room for new instances of an app on a plan; the row goes when there is.

    scarce: the resource; told (field): a sentence with figures. refused: sign-ups refused since.
    """

    app = models.ForeignKey(App, on_delete=models.CASCADE)
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE)
    scarce = models.CharField(max_length=20)
    told = models.CharField(max_length=300)
    since = models.DateTimeField(db_default=Now())
    looked_at = models.DateTimeField(db_default=Now())
    refused = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["app", "plan"], name="one_shortage_per_app_and_plan")
        ]


class PoolDay(models.Model):
    """The pool on one day: what it offered, what was booked, and how many hosts that takes.

    The last look of a day stays. hosts_needed: of hosts as large as the pool's are on average;
    hosts_in_30_days: the same with the trend of the days before carried on, null without a trend.
    """

    day = models.DateField(unique=True)
    hosts = models.PositiveIntegerField()
    open_hosts = models.PositiveIntegerField()
    instances = models.PositiveIntegerField()
    offered_cpu_millis = models.PositiveBigIntegerField()
    offered_memory_bytes = models.PositiveBigIntegerField()
    offered_disk_bytes = models.PositiveBigIntegerField()
    booked_cpu_millis = models.PositiveBigIntegerField()
    booked_memory_bytes = models.PositiveBigIntegerField()
    booked_disk_bytes = models.PositiveBigIntegerField()
    hosts_needed = models.PositiveIntegerField()
    hosts_in_30_days = models.PositiveIntegerField(null=True, blank=True)
    scarcest = models.CharField(max_length=16, help_text="the resource that decides hosts_needed")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-day"]


class RebalanceSetting(models.Model):
    """Whether the pool moves instances to pack better, and how many at once; the only row has pk 1."""

    class Mode(models.TextChoices):
        OFF = "off"
        PROPOSE = "propose"
        ON = "on"

    mode = models.CharField(max_length=8, choices=Mode, default=Mode.PROPOSE)
    budget = models.PositiveSmallIntegerField(
        default=20, help_text="most moves that one round may ask for"
    )
    changed_by = models.CharField(max_length=254, blank=True)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(pk=1), name="one_rebalance_setting")
        ]


class RebalancePlan(models.Model):
    """What one look at the pool proposed: moves with their reasons, and what became of them.

    moves: [{"instance", "tenant", "source", "target", "reason", "gain", "outcome"}]; outcome "" while
    it is only proposed.
    """

    at = models.DateTimeField(db_default=Now())
    mode = models.CharField(max_length=8)
    note = models.CharField(max_length=300, blank=True)
    hosts = models.PositiveIntegerField()
    hot_hosts = models.PositiveIntegerField(default=0)
    took_ms = models.PositiveIntegerField(default=0)
    moves = models.JSONField(default=list)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["-at", "-id"], name="newest_rebalance_plans")]
