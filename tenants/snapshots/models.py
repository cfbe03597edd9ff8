"""Copies of tenants' data and when the next one is due."""

from django.db import models
from django.db.models.functions import Coalesce, Now

from tenants.core.ids import snapshot_id
from tenants.pool.models import Host
from tenants.shops.models import Tenant
from tenants.states import SnapshotDoubt, SnapshotReason, SnapshotState


class Snapshot(models.Model):
    """One state of a tenant's volume, kept as one archive in the repository.

    base: the snapshot this archive is a difference to; depth: how many archives come before it in its
    chain. taken_at: the moment of the state; moves on while the volume is seen to be unchanged, so what
    came after it is in no copy, and what came before is. checked_at: when it was last read back whole.
    started_at orders copies: it moves on where the shop went back to this one. doubt: why it lets no
    older copy go.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="snapshots")
    public_id = models.CharField(max_length=24, unique=True, default=snapshot_id)
    base = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="differences"
    )
    depth = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=16, choices=SnapshotState, default=SnapshotState.TAKING)
    host = models.ForeignKey(
        Host, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.CharField(max_length=16, choices=SnapshotReason)
    sha256 = models.CharField(max_length=64, blank=True)
    archive_bytes = models.PositiveBigIntegerField(default=0)
    volume_bytes = models.PositiveBigIntegerField(default=0)
    files = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(
        default=0, db_default=0, help_text="entries that no archive takes, and were left out"
    )
    doubt = models.CharField(max_length=16, choices=SnapshotDoubt, blank=True, db_default="")
    frozen_ms = models.FloatField(default=0.0)
    message = models.CharField(max_length=300, blank=True, help_text="why it failed")
    started_at = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True, blank=True)
    kept_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(state=SnapshotState.TAKING),
                name="one_snapshot_being_taken_per_tenant",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=SnapshotState.values), name="snapshot_state_is_known"
            ),
            models.CheckConstraint(
                condition=~models.Q(state=SnapshotState.KEPT)
                | models.Q(taken_at__isnull=False, archive_bytes__gt=0) & ~models.Q(sha256=""),
                name="a_kept_snapshot_says_what_it_is",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "-started_at"],
                condition=models.Q(state=SnapshotState.KEPT),
                name="kept_snapshots_of_a_tenant",
            ),
            models.Index(
                fields=["tenant"],
                condition=models.Q(state=SnapshotState.KEPT) & ~models.Q(doubt=""),
                name="doubtful_snapshots",
            ),
            models.Index(
                fields=["state", "started_at"],
                condition=~models.Q(state=SnapshotState.KEPT),
                name="snapshots_to_be_tidied",
            ),
            models.Index(
                models.F("checked_at").asc(nulls_first=True),
                condition=models.Q(state=SnapshotState.KEPT),
                name="snapshots_longest_unchecked",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class SnapshotSchedule(models.Model):
    """When a tenant's next regular snapshot is due; apart from the tenant, and one row for each.

    taken_at: the moment up to which the tenant's data is in a kept copy. failures: in a row.
    is_asked: somebody wants one now. wants_full: the next one is to need no earlier archive.
    """

    tenant = models.OneToOneField(
        Tenant, primary_key=True, on_delete=models.CASCADE, related_name="snapshot_schedule"
    )
    due_at = models.DateTimeField()
    since = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    is_asked = models.BooleanField(default=False)
    wants_full = models.BooleanField(default=False, db_default=False)
    message = models.CharField(max_length=300, blank=True, help_text="of the last failure")

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], name="snapshots_by_due_time"),
            models.Index(Coalesce("taken_at", "since"), name="snapshots_by_age"),
        ]
