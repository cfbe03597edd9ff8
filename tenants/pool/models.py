"""The pool as recorded: hosts, what they reported last, edges, join tokens, drains."""

from datetime import datetime
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.states import DrainState, HostHealth, HostState


class PoolManager(models.Manager["Host"]):
    """The hosts of the pool. One that was removed stays as a row, for what once ran there names it."""

    def get_queryset(self) -> "models.QuerySet[Host]":
        """Return all but those that were removed."""
        return super().get_queryset().exclude(state=HostState.REMOVED)


class Host(models.Model):
    """A machine that runs containers.

    capacity_* is what it offers, reserve_* is kept back for the host itself. placed, load and booked_* are
    the sum of the open placements, changed only by guarded UPDATEs (placement/placements.py): memory and
    disk add up as they are. load is the processor and the network by hours of the day. booked_cpu_millis is
    the most processor that all of it together is expected to need. epoch fences a host that comes back
    after it was declared lost. health is measured and changed only by pool/health.py. unreached_since:
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
    minutes, known by a key it made itself (pool/joins.py).
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
        null=True,
        help_text="the life of the host that it knows; 0: never adopted; null: not reported",
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


class Drain(models.Model):
    """A host that is being emptied, or was.

    total: the shops it held when it was asked for. The host's own report has the last word on empty.
    was_cordoned: it was closed before; who calls the drain off finds it as it was.
    """

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="drains")
    state = models.CharField(max_length=16, choices=DrainState, default=DrainState.RUNNING)
    total = models.PositiveIntegerField()
    was_cordoned = models.BooleanField(default=False, db_default=False)
    requested_by = models.ForeignKey(Member, null=True, blank=True, on_delete=models.SET_NULL)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["host"],
                condition=models.Q(state=DrainState.RUNNING),
                name="one_open_drain_per_host",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=DrainState.values), name="drain_state_is_known"
            ),
        ]
