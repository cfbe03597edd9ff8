"""A straight line instead of the root, so that what instances want of a processor adds up.

Vector packing needs amounts that add up, and a shared processor's do not: what a host is expected to
reach grows with the root of the sum of squared swings. That root is replaced by a straight line that
touches it where a host of these instances is full and lies above it everywhere else, so a host that is
packed by the line is never above its limits. What the line leaves free by the true curve is then topped
up from the hosts that were filled last (backfill.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from workers.scheduler.demand_vector import (
    CPU,
    CPU_MEAN,
    CPU_SQUARE,
    CPU_SWING,
    DISK,
    DSK,
    F32,
    MEM,
    MEMORY,
    NET,
    NET_MEAN,
    NET_SQUARE,
    NET_SWING,
    Rules,
)
from workers.scheduler.types import F64


@dataclass(frozen=True, slots=True)
class TangentLine:
    """The straight line instead of the root: at is where it touches, per hour, for processor and network.

    sqrt(q) <= q / (2 at) + at / 2 for every q, with equality at q = at².
    """

    cpu_at: F64
    net_at: F64
    rules: Rules

    @classmethod
    def touching(cls, demands: F32, most: F64, rules: Rules) -> "TangentLine":
        """Touching where a host with the mean of these limits is full of such instances."""
        typical = most.mean(axis=0)
        return cls(
            _at(demands[:, CPU_MEAN], demands[:, CPU_SWING], float(typical[CPU]), rules),
            _at(demands[:, NET_MEAN], demands[:, NET_SWING], float(typical[NET]), rules),
            rules,
        )

    def sizes(self, demands: F32) -> F64:
        """[n, 50]: hours of the processor, memory, disk, hours of the network."""
        parts = []
        for mean, swing, at in (
            (CPU_MEAN, CPU_SWING, self.cpu_at),
            (NET_MEAN, NET_SWING, self.net_at),
        ):
            swings = demands[:, swing].astype(np.float64)
            parts.append(demands[:, mean] + self._together * swings)
            parts[-1] += self._apart * np.square(swings) / (2 * at)
        memory, disk = demands[:, MEMORY, None], demands[:, DISK, None]
        return np.concatenate([parts[0], memory, disk, parts[1]], axis=1, dtype=np.float64)

    def free(self, load: F32, most: F64, offered: F64) -> F64:
        """[n, 50]: what hosts that carry this load have left, in the terms of sizes."""
        parts = []
        for resource, mean, swing, square, at in (
            (CPU, CPU_MEAN, CPU_SWING, CPU_SQUARE, self.cpu_at),
            (NET, NET_MEAN, NET_SWING, NET_SQUARE, self.net_at),
        ):
            used = load[:, mean].astype(np.float64) + self._together * load[:, swing]
            used += self._apart * (load[:, square] / (2 * at) + at / 2)
            parts.append(most[:, resource, None] - used)
        parts[1][offered[:, NET] <= 0] = np.finfo(np.float32).max / 4  # not counted there
        memory = most[:, MEM, None] - load[:, MEMORY, None]
        disk = most[:, DSK, None] - load[:, DISK, None]
        left = np.concatenate([parts[0], memory, disk, parts[1]], axis=1, dtype=np.float64)
        return np.maximum(left, 0.0)

    @property
    def _together(self) -> float:
        return self.rules.z * math.sqrt(self.rules.correlation)

    @property
    def _apart(self) -> float:
        return self.rules.z * math.sqrt(1 - self.rules.correlation)


def _at(mean: F32, swing: F32, most: float, rules: Rules) -> F64:
    """Per hour the root of the summed squared swings on a host that is full of such instances.

    With b squared swing per unit of mean and common swing, and k for z * sqrt(1 - r): a full host has
    root² = b * (limit - k * root).
    """
    linear = mean.sum(axis=0, dtype=np.float64)
    linear += rules.z * math.sqrt(rules.correlation) * swing.sum(axis=0, dtype=np.float64)
    b = np.square(swing.astype(np.float64)).sum(axis=0) / np.maximum(linear, 1e-9)
    k = rules.z * math.sqrt(1 - rules.correlation)
    root: F64 = (np.sqrt(np.square(b * k) + 4 * b * max(most, 0.0)) - b * k) / 2
    return np.maximum(root, 1e-6 * max(most, 1.0))
