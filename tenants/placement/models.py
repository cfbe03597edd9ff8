"""Where instances are, what they are booked at, and where their requests go."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.catalogue.models import App, Plan
from tenants.pool.models import Host
from tenants.shops.models import Instance, Tenant


class Shortage(models.Model):
    """There is no room for new instances of an app on a plan; the row goes when there is.

    scarce: the resource that is missing. refused: sign-ups refused since.
    """

    app = models.ForeignKey(App, on_delete=models.CASCADE)
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE)
    scarce = models.CharField(max_length=20)
    told = models.CharField(max_length=300)
    since = models.DateTimeField(db_default=Now())
    looked_at = models.DateTimeField(db_default=Now())
    refused = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["app", "plan"], name="one_shortage_per_app_and_plan")
        ]


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


class Decision(models.Model):
    """Why an instance was put where it is, or nowhere: one row per answer of the scheduler."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="decisions")
    host_name = models.CharField(max_length=32, blank=True)
    outcome = models.CharField(max_length=16, help_text="placed, no_room or unseen")
    reasons = models.JSONField(default=list)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["instance", "-at"], name="decisions_of_an_instance"),
            # The few that operators look for among millions.
            models.Index(
                fields=["outcome", "-id"],
                condition=~models.Q(outcome="placed"),
                name="decisions_without_a_place",
            ),
            models.Index(fields=["at"], name="decisions_by_time"),  # the minute's purge
        ]


class Placement(models.Model):
    """Instance X is on host H since T, booked at this demand, published at this port, and why.

    shape: the processor (millicores) and the network (bytes a second) by hours of the day: 24 means and
    24 swings of each, in the order of workers.scheduler.demand_vector; empty for cpu_millis all day long.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="placements")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="placements")
    port = models.PositiveIntegerField()
    cpu_millis = models.FloatField()
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    shape = ArrayField(models.FloatField(), default=list, blank=True)
    booked_at = models.DateTimeField(db_default=Now())
    reasons = models.JSONField(default=list)
    since = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance"],
                condition=models.Q(until__isnull=True),
                name="one_open_placement_per_instance",
            ),
            models.UniqueConstraint(
                fields=["host", "port"],
                condition=models.Q(until__isnull=True),
                name="one_open_placement_per_port",
            ),
        ]
        indexes = [
            models.Index(
                fields=["host"],
                condition=models.Q(until__isnull=True),
                name="open_placements_by_host",
            )
        ]


class Route(models.Model):
    """Hostname → where its requests go. value is the edge map's value, "" once withdrawn.

    sequence is drawn under the tenant's row lock, so it also orders the changes of one hostname,
    even when a removed shop's name is taken by another tenant: edges ignore lower ones.
    """

    hostname = models.CharField(max_length=253, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="routes")
    value = models.CharField(max_length=120, blank=True)
    sequence = models.PositiveBigIntegerField(unique=True)
    changed_at = models.DateTimeField(db_default=Now())
