"""Adds what this process has counted to the sums of all processes, in PostgreSQL.

What was added since the last time is sent, not how much there is: so a sum lives on when a process ends, and
two processes, or two machines, never have to know of each other. While the database is away a process keeps
what it has counted. When the answer to a write is lost it is sent again; then it may be counted twice.
"""

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import sub

from django.db import connection
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from tenants.core import metrics

# In one order for everybody, so that two of these wait for each other instead of deadlocking. Other bounds
# come with another version: what was counted by the old ones cannot be added to.
_ADD = """
INSERT INTO tenants_metricsum AS kept (series, bounds, sums)
SELECT series, bounds, sums
  FROM jsonb_to_recordset(%s::jsonb) AS given (series text, bounds float8[], sums float8[])
 ORDER BY series
    ON CONFLICT (series) DO UPDATE
   SET bounds = excluded.bounds,
       sums = CASE WHEN kept.bounds = excluded.bounds
                   THEN ARRAY(SELECT before + more
                                FROM unnest(kept.sums, excluded.sums) WITH ORDINALITY
                                     AS pair (before, more, place) ORDER BY place)
                   ELSE excluded.sums END
"""


@dataclass(slots=True)
class Counted:
    """What was counted of one series: see tenants.core.models.MetricSum."""

    bounds: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)


class Shipper:
    """Knows what of a registry was sent already."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._sent: dict[str, list[float]] = {}

    def ship(self) -> int:
        """Send what is new; of how many series that was. DatabaseError leaves it for the next time."""
        with self._lock:
            now = counted(self._registry.collect())
            rows = []
            for series, entry in now.items():
                before = self._sent.get(series) or [0.0] * len(entry.sums)
                more = [*map(sub, entry.sums, before)]
                if any(more):
                    rows.append({"series": series, "bounds": entry.bounds, "sums": more})
            if rows:
                with connection.cursor() as cursor:
                    cursor.execute(_ADD, [json.dumps(rows)])
                self._sent = {series: entry.sums for series, entry in now.items()}
            return len(rows)


def counted(families: Iterable[Metric]) -> dict[str, Counted]:
    """Return every series of the families with what was counted of it."""
    found: dict[str, Counted] = {}
    for family in families:
        for sample in family.samples:
            kind = sample.name.removeprefix(family.name)
            # When a process began to count says nothing of the sum; a histogram's last bucket is its count.
            if kind == "_created" or (kind == "_count" and family.type == "histogram"):
                continue
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            entry = found.setdefault(json.dumps([family.name, labels]), Counted())
            if kind == "_bucket" and sample.labels["le"] != "+Inf":
                entry.bounds.append(float(sample.labels["le"]))
            entry.sums.append(sample.value)
    return found


_shipper = Shipper(metrics.REGISTRY)


def ship() -> int:
    """Send what is new in this process: see Shipper.ship."""
    return _shipper.ship()
