"""The sums of what all processes of the control plane have counted."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class MetricSum(models.Model):
    """One series of tenants/metrics.py: how much all processes together have counted, ever.

    series: its name and labels, as JSON. sums: a counter's value; a summary's count and sum; of a histogram
    the count at or below each of its bounds and in all, then the sum of what was observed.
    """

    series = models.CharField(max_length=250, unique=True)
    bounds = ArrayField(models.FloatField(), default=list, blank=True)
    sums = ArrayField(models.FloatField())
