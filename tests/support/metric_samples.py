"""What /metrics says, as Prometheus reads it, and a process that counts."""

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from prometheus_client.parser import text_string_to_metric_families

from controlplane.monitoring import metrics as page
from tenants.core.metric_sums import Shipper

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples() -> Samples:
    """What /metrics says now, read as Prometheus' own client reads it."""
    families = text_string_to_metric_families(page.read().decode())
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


def at(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


class Process:
    """A process of the control plane: counters of its own, and what it has sent of them."""

    def __init__(self, bounds: tuple[float, ...] = (0.1, 1.0)) -> None:
        self.registry = CollectorRegistry()
        self.failures = Counter(
            "stoa_round_failures", "x", ["round"], registry=self.registry
        ).labels("sweep")
        self.rounds = Summary(
            "stoa_round_duration_seconds", "x", ["round"], registry=self.registry
        ).labels("sweep")
        self.claims = Histogram(
            "stoa_operation_claim_duration_seconds", "x", buckets=bounds, registry=self.registry
        )
        self._shipper = Shipper(self.registry)

    def ship(self) -> int:
        return self._shipper.ship()
