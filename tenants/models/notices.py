"""What is to be sent, away from the pages, about alarms that began or ended."""

from django.db import models
from django.db.models.functions import Now


class Notice(models.Model):
    """One change of one alarm for one channel; written with the change, kept until it was delivered.

    run_after: when a channel that failed is tried again. It is delivered at least once.
    """

    class Channel(models.TextChoices):
        MAIL = "mail"
        WEBHOOK = "webhook"

    class Kind(models.TextChoices):
        OPENED = "opened"
        CLOSED = "closed"
        TEST = "test"

    channel = models.CharField(max_length=8, choices=Channel)
    kind = models.CharField(max_length=8, choices=Kind)
    key = models.CharField(max_length=120)
    message = models.CharField(max_length=500)
    at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)
    run_after = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["channel", "id"],
                condition=models.Q(sent_at__isnull=True),
                name="notices_to_deliver",
            ),
            models.Index(fields=["channel", "-sent_at"], name="notices_last_delivered"),
            models.Index(fields=["at"], name="notices_by_time"),
        ]
