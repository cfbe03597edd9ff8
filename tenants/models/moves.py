"""Shops on their way to another host, and hosts that are being emptied."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.models.hosts import Host
from tenants.models.members import Member
from tenants.models.operations import Operation
from tenants.models.tenants import Instance, Placement
from tenants.states import DrainState, MoveEnd


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
