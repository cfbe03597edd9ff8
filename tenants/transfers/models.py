"""Moves, and what plans them: rebalancing."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Drain, Host
from tenants.shops.models import Instance
from tenants.states import MoveEnd


class Move(models.Model):
    """An instance on its way from source to target.

    Beside the open placement it holds the second place: until it is switched the target's port and
    booking, from then on the source's, until nothing of the instance is left there. So two open
    placements of one instance stay impossible, and room is booked wherever something lies.
    cpu_millis and on: what is booked at the target, as on a placement.
    source_epoch, target_epoch: a host with a higher one was declared lost meanwhile.
    held_ms: how long requests were held. timings_ms: by what was done.
    """

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="moves")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="moves")
    drain = models.ForeignKey(
        Drain, null=True, blank=True, on_delete=models.SET_NULL, related_name="moves"
    )
    placement = models.ForeignKey(
        Placement, on_delete=models.CASCADE, related_name="moves", help_text="the one at the source"
    )
    source = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="moves_away")
    source_epoch = models.PositiveIntegerField()
    target = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="moves_here")
    target_epoch = models.PositiveIntegerField()
    target_port = models.PositiveIntegerField()
    cpu_millis = models.FloatField()
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    shape = ArrayField(models.FloatField(), default=list, blank=True)
    reasons = models.JSONField(default=list)
    is_switched = models.BooleanField(
        default=False, help_text="whether the record's place is the target already"
    )
    end = models.CharField(max_length=16, choices=MoveEnd, blank=True)
    held_ms = models.PositiveIntegerField(null=True, blank=True)
    timings_ms = models.JSONField(default=dict)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance"],
                condition=models.Q(ended_at__isnull=True),
                name="one_open_move_per_instance",
            ),
            models.UniqueConstraint(
                fields=["target", "target_port"],
                condition=models.Q(ended_at__isnull=True),
                name="one_open_move_per_port",
            ),
            models.CheckConstraint(
                condition=~models.Q(source=models.F("target")), name="a_move_leads_elsewhere"
            ),
        ]
        indexes = [
            models.Index(
                fields=["source"],
                condition=models.Q(ended_at__isnull=True),
                name="open_moves_by_source",
            ),
            models.Index(fields=["drain", "end"], name="moves_of_a_drain"),
        ]


class HoldTurn(models.Model):
    """Which operation may hold the requests of a host's shops now; it counts while that claim's lease does.

    fence: of the claim. One with a higher fence has taken the operation over, and the turn with it.
    """

    host = models.OneToOneField(
        Host, on_delete=models.CASCADE, primary_key=True, related_name="hold_turn"
    )
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="+")
    fence = models.PositiveBigIntegerField()


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
