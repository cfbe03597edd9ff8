"""What can be bought and run: plans, apps, releases."""

from django.db import models
from django.db.models.functions import Now


class Plan(models.Model):
    """What a tenant buys: a price and limits.

    Of egress, connections and io, 0 means what runtime.units.Limits says of 0.
    has_internet: whether a shop may open connections to the outside at all.
    snapshot_period_minutes: how often the shop's data is copied off its host: what is lost with a host.
    """

    slug = models.SlugField(max_length=40, unique=True)
    name_en = models.CharField(max_length=80)
    name_ja = models.CharField(max_length=80)
    summary_en = models.CharField(max_length=200, blank=True)
    summary_ja = models.CharField(max_length=200, blank=True)
    price_minor = models.PositiveIntegerField(help_text="per month, in the currency's minor unit")
    currency = models.CharField(max_length=3, default="EUR")
    cpu_millis = models.PositiveIntegerField()
    memory_bytes = models.PositiveBigIntegerField()
    pids = models.PositiveIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    egress_bytes_per_second = models.PositiveBigIntegerField(default=0)
    connections = models.PositiveIntegerField(default=0)
    new_connections_per_second = models.PositiveIntegerField(default=0)
    io_bytes_per_second = models.PositiveBigIntegerField(default=0)
    has_internet = models.BooleanField(default=True)
    snapshot_period_minutes = models.PositiveIntegerField(default=60)
    is_public = models.BooleanField(default=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position", "slug"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    cpu_millis__gt=0, memory_bytes__gt=0, pids__gt=0, disk_bytes__gt=0
                ),
                name="plan_ceilings_are_above_zero",
            ),
            models.CheckConstraint(
                condition=models.Q(snapshot_period_minutes__gt=0),
                name="plan_snapshot_period_is_above_zero",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class App(models.Model):
    """A program in the catalogue."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.slug


class Release(models.Model):
    """One immutable image digest and config of an app, numbered.

    image_source: where a host that lacks the image gets it ("" from the control plane, by digest).
    writable_root: False for programs that write to /tmp and their volume only. prior_*: measured use of an
    instance before any tenant ran it. A cold instance is booked at that, or at a moderate guess where
    nothing was measured (null).
    """

    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField()
    image_digest = models.CharField(max_length=71)
    image_name = models.CharField(max_length=120)
    container_port = models.PositiveIntegerField(default=8000)
    health_path = models.CharField(max_length=200, default="/healthz", blank=True)
    has_volume = models.BooleanField(default=True)
    image_source = models.CharField(max_length=400, blank=True, default="")
    writable_root = models.BooleanField(default=True)
    prior_cpu_millis = models.FloatField(null=True, blank=True)
    prior_memory_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["app", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["app", "number"], name="release_numbers_are_unique")
        ]

    def __str__(self) -> str:
        return f"{self.app_id}#{self.number}"
