"""Ways of choosing hosts that others use, over any gauge; equal hosts, opened as they are needed."""

import numpy as np

from bench.research.traces import Trace
from workers.scheduler.rebalancing.usage_model import UsageModel
from workers.scheduler.types import F64, Ints


def best_fit(gauge: UsageModel, limits: F64) -> Ints:
    """Largest first, each on the fullest host that has room; limits [r] of one host."""
    sizes = gauge.shares(gauge.rows, limits).max(axis=1)
    hosts = np.full(len(gauge.rows), -1, np.int64)
    sums = np.zeros((0, gauge.rows.shape[1]), np.float32)
    for row in np.argsort(-sizes, kind="stable"):
        after = gauge.shares(sums + gauge.rows[row], limits).max(axis=1)
        after[after > 1.0] = -1.0
        if len(sums) and after.max() >= 0:
            host = int(np.argmax(after))
        else:
            host = len(sums)
            sums = np.concatenate([sums, np.zeros((1, sums.shape[1]), np.float32)])
        sums[host] += gauge.rows[row]
        hosts[row] = host
    return hosts


def spread(gauge: UsageModel, limits: F64, count: int) -> Ints:
    """In the given order, each on the emptiest of `count` hosts (Kubernetes' LeastAllocated)."""
    hosts = np.full(len(gauge.rows), -1, np.int64)
    sums = np.zeros((count, gauge.rows.shape[1]), np.float32)
    for row in range(len(gauge.rows)):
        after = gauge.shares(sums + gauge.rows[row], limits).max(axis=1)
        hosts[row] = int(np.argmin(after))
        sums[hosts[row]] += gauge.rows[row]
    return hosts


def target_load(seen: Trace, cpu_millis: float, memory_bytes: float, target: float) -> Ints:
    """Trimaran's TargetLoadPacking (scheduler-plugins, KEP 61): fill up to a target, then spread.

    A host's use is the mean that was measured there, plus the estimate for what is placed, here the
    machine's own mean. Memory is requested at its highest; a processor is not requested at all.
    """
    cpu = np.nan_to_num(seen.cpu).mean(axis=1)
    memory = np.nan_to_num(seen.memory).max(axis=1)
    used = np.zeros((len(seen), 2))
    hosts = np.full(len(seen), -1, np.int64)
    for row in range(len(seen)):
        scores = _target_score(100 * (used[:, 0] + cpu[row]) / cpu_millis, target)
        scores[used[:, 1] + memory[row] > memory_bytes] = -1.0
        hosts[row] = int(np.argmax(scores))
        used[hosts[row]] += (cpu[row], memory[row])
    return hosts


def _target_score(use: F64, target: float) -> F64:
    """Rises from the target (an empty host) to 100 at the target, then falls to 0 at full."""
    below = (100 - target) * use / target + target
    above = target * (100 - use) / (100 - target)
    score: F64 = np.where(use <= target, below, np.where(use <= 100, above, 0.0))
    return score
