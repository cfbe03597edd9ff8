"""What instances used, and what is expected of them and of the pool."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.catalogue.models import App, Plan
from tenants.pool.models import Host
from tenants.shops.models import Instance


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

    beyond: the bytes of the scheduler's own form (workers.scheduler.profiles.history), of what was placed
    there at `at`. Whoever writes it writes the host's row too: readers look at that row's version alone.
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


class HostUsage(models.Model):
    """All usage of one host over one window, packed into one row (never a row per instance).

    at: when the window ended. samples: the last reading of every instance. window: what the host made
    of all readings of the window (runtime.units.UsageWindow), null from agents that do not do that.
    source: which window of which start of the agent it is, so that none is written twice.
    is_folded: its figures are in the instances' profiles.
    """

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="usage")
    at = models.DateTimeField()
    samples = models.JSONField()
    window = models.JSONField(null=True, blank=True)
    source = models.CharField(max_length=80, default="")
    is_folded = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["host", "at"], name="one_usage_row_per_window"),
            models.UniqueConstraint(
                fields=["host", "source"],
                condition=~models.Q(source=""),
                name="one_usage_row_per_source",
            ),
        ]
        indexes = [
            models.Index(
                fields=["host", "at"],
                condition=models.Q(is_folded=False),
                name="usage_to_fold",
            ),
            models.Index(fields=["at"], name="usage_by_time"),  # the minute's purge
        ]
