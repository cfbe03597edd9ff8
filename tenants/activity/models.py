"""What has happened to instances, as merchants and operators read it later."""

from django.db import models
from django.db.models.functions import Now

from tenants.shops.models import Instance, Tenant
from tenants.states import EventKind


class InstanceEvent(models.Model):
    """Something that befell an instance: one row while it lasts or repeats, however often it is seen.

    count: how many times. ended_at: when it was no longer so; the next time begins a new row.
    details: by kind, for example exit_code and last_lines.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="events")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=16, choices=EventKind)
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["-last_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "kind"],
                condition=models.Q(ended_at__isnull=True),
                name="one_open_event_per_kind",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=EventKind.values), name="event_kind_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-last_at"], name="newest_events_of_tenant"),
            models.Index(fields=["-last_at"], name="newest_events"),
        ]
