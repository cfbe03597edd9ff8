"""How many hosts a number of instances takes.

Vector packing needs amounts that add up, and a shared processor's do not: what a host is expected to
reach grows with the root of the sum of squared swings. That root is replaced by a straight line that
touches it where a host of these instances is full and lies above it everywhere else, so a host that is
packed by the line is never above its limits. What the line leaves free by the true curve is then topped
up from the hosts that were filled last (topping.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from workers.scheduler.bins import pack
from workers.scheduler.load import (
    CPU,
    CPU_MEAN,
    CPU_SQUARE,
    CPU_SWING,
    DEFAULT,
    DISK,
    DSK,
    F32,
    LOAD_WIDTH,
    MEM,
    MEMORY,
    NET,
    NET_MEAN,
    NET_SQUARE,
    NET_SWING,
    RESOURCES,
    Rules,
    as_load,
    highs,
)
from workers.scheduler.topping import top_up
from workers.scheduler.values import F64, Resources

# Of more instances than this an even sample is packed, and its hosts are multiplied.
_SAMPLE = 4_000


@dataclass(frozen=True, slots=True)
class Needed:
    """hosts: how many of one size hold all. least: no packing can need fewer. scarce: what decides.
    too_large: instances that no host of this size can hold; each is counted as a whole host."""

    hosts: int
    least: int
    scarce: str
    too_large: int = 0


def hosts_needed(demands: F32, offered: Resources, rules: Rules = DEFAULT) -> Needed:
    """How many hosts that offer this hold all demands."""
    if not len(demands):
        return Needed(0, 0, RESOURCES[CPU])
    amounts = np.array(
        [[offered.cpu_millis, offered.memory_bytes, offered.disk_bytes, offered.network]],
        np.float64,
    )
    most = amounts * np.array(rules.shares)
    fits = (highs(as_load(demands), rules) <= np.where(amounts[0] > 0, most[0], np.inf)).all(axis=1)
    too_large = len(demands) - int(fits.sum())
    if too_large:
        rest = hosts_needed(demands[fits], offered, rules)
        return Needed(rest.hosts + too_large, rest.least + too_large, rest.scarce, too_large)
    step = max(1, math.ceil(len(demands) / _SAMPLE))
    order = np.argsort(-(demands[:, MEMORY] / max(most[0, MEM], 1.0)), kind="stable")
    sample = demands[order[::step]]
    line = Line.touching(sample, most, rules)
    free = line.free(np.zeros((1, LOAD_WIDTH), np.float32), most, amounts)[0]
    packed = pack(np.minimum(line.sizes(sample), free), free)  # one alone may be above the line
    empty = np.zeros((packed.bins, LOAD_WIDTH), np.float32)
    true = np.repeat(np.where(amounts > 0, most, np.inf), packed.bins, axis=0)
    bins = len(np.unique(top_up(sample, np.array(packed.bin_of), empty, true, rules)))
    means = _means(demands)
    counted = amounts[0] > 0
    shares = np.where(counted, means / np.where(counted, most[0], 1.0), 0.0)
    least = max(1, math.ceil(float(shares.max()) - 1e-9))
    hosts = math.ceil(bins * len(demands) / len(sample))
    return Needed(max(hosts, least), least, RESOURCES[int(shares.argmax())])


def _means(demands: F32) -> F64:
    """[4]: what all of them use together in the busiest hour, without any margin."""
    return np.array(
        [
            demands[:, CPU_MEAN].sum(axis=0, dtype=np.float64).max(),
            demands[:, MEMORY].sum(dtype=np.float64),
            demands[:, DISK].sum(dtype=np.float64),
            demands[:, NET_MEAN].sum(axis=0, dtype=np.float64).max(),
        ]
    )


@dataclass(frozen=True, slots=True)
class Line:
    """The straight line instead of the root: at is where it touches, per hour, for processor and network.

    sqrt(q) <= q / (2 at) + at / 2 for every q, with equality at q = at².
    """

    cpu_at: F64
    net_at: F64
    rules: Rules

    @classmethod
    def touching(cls, demands: F32, most: F64, rules: Rules) -> "Line":
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
