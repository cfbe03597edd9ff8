"""The pool as recorded: hosts, what they last said, edges, and ports in quarantine."""

from datetime import datetime
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.states import HostHealth, HostState


class PoolManager(models.Manager["Host"]):
    """The hosts of the pool. One that was removed stays as a row, for what once ran there names it."""

    def get_queryset(self) -> "models.QuerySet[Host]":
        """All but those that were removed."""
        return super().get_queryset().exclude(state=HostState.REMOVED)


class Host(models.Model):
    """A machine that runs containers.

    capacity_* is what it offers, reserve_* is kept back for the host itself. placed, load and booked_* are
    the sum of the open placements, changed only by guarded UPDATEs (services/placements.py): memory and
    disk add up as they are. load is the processor and the network by hours of the day. booked_cpu_millis is
    the most processor that all of it together is expected to need. epoch fences a host that comes back
    after it was declared lost. health is measured and changed only by services/health.py. unreached_since:
    since when no edge that was asked could connect to its probe port; null while one can, or none was
    asked.
    """

    name = models.CharField(max_length=32, unique=True)
    address = models.GenericIPAddressField(protocol="IPv4")
    state = models.CharField(max_length=16, choices=HostState, default=HostState.OPEN)
    engine = models.CharField(max_length=16, default="crun")
    zone = models.CharField(max_length=32, default="default")
    epoch = models.PositiveIntegerField(default=1)
    health = models.CharField(max_length=16, choices=HostHealth, default=HostHealth.ALIVE)
    health_since = models.DateTimeField(db_default=Now())
    unreached_since = models.DateTimeField(null=True, blank=True)
    probe_port = models.PositiveIntegerField(default=9797)
    capacity_cpu_millis = models.PositiveIntegerField()
    capacity_memory_bytes = models.PositiveBigIntegerField()
    capacity_disk_bytes = models.PositiveBigIntegerField()
    reserve_cpu_millis = models.PositiveIntegerField(default=0)
    reserve_memory_bytes = models.PositiveBigIntegerField(default=0)
    reserve_disk_bytes = models.PositiveBigIntegerField(default=0)
    booked_cpu_millis = models.PositiveIntegerField(default=0)
    booked_memory_bytes = models.PositiveBigIntegerField(default=0)
    booked_disk_bytes = models.PositiveBigIntegerField(default=0)
    placed = models.PositiveIntegerField(default=0)
    load = ArrayField(models.FloatField(), default=list, blank=True)
    first_port = models.PositiveIntegerField(default=10000)
    last_port = models.PositiveIntegerField(default=32767)
    next_port = models.PositiveIntegerField(default=10000)
    broker_secret_sha256 = models.CharField(max_length=64)
    token_sha256 = models.CharField(max_length=64)
    labels = models.JSONField(
        default=dict, blank=True, help_text="what operators say of it: key → value"
    )
    machine_sha256 = models.CharField(
        max_length=64, blank=True, help_text="of the key that the machine made when it joined"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[PoolManager] = PoolManager()
    ever: ClassVar["models.Manager[Host]"] = models.Manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(health__in=HostHealth.values), name="host_health_is_known"
            )
        ]

    def __str__(self) -> str:
        return self.name


class JoinToken(models.Model):
    """What lets one machine become a host, once: `J1.<sha256 of the pool's CA>.<key_id>.<secret>`.

    Of the secret only the SHA-256 is kept. The machine that used it may repeat what it did for some
    minutes, known by a key it made itself (services/joins.py).
    """

    key_id = models.CharField(max_length=16, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    zone = models.CharField(max_length=32, default="default")
    labels = models.JSONField(default=dict, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)
    machine_sha256 = models.CharField(max_length=64, blank=True)
    host = models.ForeignKey(
        Host, null=True, blank=True, on_delete=models.SET_NULL, related_name="join_tokens"
    )
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(used_at__isnull=True) | ~models.Q(machine_sha256=""),
                name="a_used_join_token_names_its_machine",
            )
        ]


class HostReport(models.Model):
    """What a host last said of itself; apart from Host so that heartbeats never touch booked_*."""

    host = models.OneToOneField(Host, on_delete=models.CASCADE, related_name="report")
    seen_at = models.DateTimeField()
    inventory_at = models.DateTimeField(
        null=True,
        help_text="the inventory was collected after this; null: written before this was kept",
    )
    boot_id = models.CharField(max_length=64)
    sequence = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    epoch = models.PositiveIntegerField(
        null=True, help_text="the life of the host that it knows; 0: never adopted; null: not told"
    )
    inventory = models.JSONField(default=list)
    used_cpu_millis = models.PositiveIntegerField(default=0)
    used_memory_bytes = models.PositiveBigIntegerField(default=0)
    used_disk_bytes = models.PositiveBigIntegerField(default=0)
    conditions = models.JSONField(
        default=list, help_text='what the host says is wrong with it: [{"kind", "message"}]'
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["host"], condition=~models.Q(conditions=[]), name="hosts_with_conditions"
            )
        ]

    @property
    def collected_at(self) -> datetime:
        """Return when the inventory was collected: what happened before it shows there. A busy host's is
        read long after.
        """
        return self.inventory_at or self.seen_at


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


class Edge(models.Model):
    """A front proxy. Ready while its agent was heard in the last 10 seconds and its map is in step."""

    name = models.CharField(max_length=32, unique=True)
    broker_secret_sha256 = models.CharField(max_length=64)
    token_sha256 = models.CharField(max_length=64)
    check_url = models.CharField(
        max_length=200, help_text="where control asks this edge for a shop"
    )
    created_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(null=True, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    applied_sequence = models.PositiveBigIntegerField(default=0)
    is_synced = models.BooleanField(default=False)
    accepts = models.JSONField(
        default=dict, help_text='what routes it can serve: {"networks", "ports", "console"}'
    )
    refused = models.JSONField(
        default=list, help_text="routes that it had to leave out, as sentences; a few of them"
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class PortQuarantine(models.Model):
    """A published port given back by a tenant; reused last, and only once no edge can hold its route."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="quarantined_ports")
    port = models.PositiveIntegerField()
    hostname = models.CharField(max_length=253)
    released_at = models.DateTimeField(db_default=Now())
    waiting_for = models.JSONField(default=list, help_text="names of edges yet to acknowledge")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["host", "port"], name="a_port_is_quarantined_once")
        ]
        indexes = [
            models.Index(fields=["host", "released_at"], name="oldest_released_port"),
            models.Index(fields=["hostname"], name="ports_behind_a_hostname"),
        ]
