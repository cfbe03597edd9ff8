"""What every subject writes: transitions, alarms, freeze switches, rounds, counters."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.core import alarm_kinds
from tenants.core.alarm_kinds import AlarmKind


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


class MetricSum(models.Model):
    """One series of tenants/core/metrics.py: how much all processes together have counted, ever.

    series: its name and labels, as JSON. sums: a counter's value; a summary's count and sum; of a histogram
    the count at or below each of its bounds and in all, then the sum of what was observed.
    """

    series = models.CharField(max_length=250, unique=True)
    bounds = ArrayField(models.FloatField(), default=list, blank=True)
    sums = ArrayField(models.FloatField())


class Brake(models.Model):
    """One count: a kind of try by one subject (an address, an e-mail, a shop).

    paid_until: the moment until which the tries made so far are paid for. It says all of a bucket that
    empties evenly: every try moves it on, time catches up with it, and a row of the past means nothing.
    """

    key = models.CharField(max_length=64, primary_key=True)
    paid_until = models.DateTimeField(db_index=True)


class Transition(models.Model):
    """One change of state, for ever: who or what, from, to, why."""

    subject = models.CharField(max_length=16, help_text="tenant, instance, operation or host")
    subject_id = models.BigIntegerField()
    old_state = models.CharField(max_length=16)
    new_state = models.CharField(max_length=16)
    reason = models.CharField(max_length=300)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["subject", "subject_id", "at"], name="transitions_of_a_subject"),
            models.Index(fields=["at"], name="transitions_by_time"),  # the minute's purge
        ]


class FreezeSwitch(models.Model):
    """Stops one kind of automatic work until an operator lets it go on."""

    class Name(models.TextChoices):
        PLACEMENTS = "placements"
        REPLACING = "replacing"
        RECONCILE = "reconcile"
        SLEEP = "sleep"
        ROLLOUTS = "rollouts"

    name = models.CharField(max_length=16, choices=Name, unique=True)
    is_on = models.BooleanField(default=False)
    reason = models.CharField(max_length=300, blank=True)
    changed_by = models.CharField(max_length=254, blank=True)
    changed_at = models.DateTimeField(db_default=Now())


class PeriodicRun(models.Model):
    """When each periodic task last ran, and who is at it now.

    Leased as operations are: an advisory lock of a session outlives a machine that lost its power.
    """

    name = models.CharField(max_length=64, unique=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    unbroken_since = models.DateTimeField(
        null=True, blank=True, help_text="since when it has ended well without a gap"
    )
    note = models.CharField(max_length=300, blank=True)
    lease_owner = models.CharField(max_length=80, blank=True, db_default="")
    lease_until = models.DateTimeField(null=True, blank=True)


class ProgramBeat(models.Model):
    """What each worker process says of itself every second or so."""

    name = models.CharField(max_length=120, unique=True, help_text="<program>@<machine>/<process>")
    program = models.CharField(max_length=32)
    at = models.DateTimeField(db_default=Now())
    hears_broker = models.BooleanField(default=False)
    idle_seconds = models.FloatField(default=0, help_text="since a task has begun or ended")


class Alarm(models.Model):
    """Something an operator must look at; closed by the sweep when it is no longer true."""

    key = models.CharField(max_length=120, unique=True)
    message = models.CharField(max_length=500)
    since = models.DateTimeField(db_default=Now())
    cleared_at = models.DateTimeField(null=True, blank=True)

    @property
    def kind(self) -> AlarmKind | None:
        """What is declared of such alarms."""
        return alarm_kinds.of(self.key)
