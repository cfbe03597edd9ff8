"""Rules that others plan by, as gauges: what adds up of each machine, and how the sum is read.

Each gauge has two amounts, processor (millicores) and memory (bytes), and its shares of a host. By
limit plan Kubernetes (requests equal to limits) and Nomad. The other rules are from Bashir et al.,
EuroSys 2021 (N-sigma), Resource Central, SOSP 2017 (a percentile of each machine), Coach, ASPLOS 2025
(a percentile per part of the day), and the summed history of the host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.research.traces import WINDOWS_PER_HOUR, Trace
from workers.scheduler.demand_vector import F32, HOURS
from workers.scheduler.rebalancing.usage_model import UsageModel


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """gauge: made of what was seen in a trace. shares: of a host's processor and memory to plan with."""

    name: str
    gauge: Callable[[Trace], UsageModel]
    shares: tuple[float, float]


def by_ceiling(seen: Trace) -> UsageModel:
    """What was sold, whatever is used."""
    return _summed(seen.ceilings[:, :1], seen.ceilings[:, 1])


def highest(seen: Trace) -> UsageModel:
    """The highest five minutes of each machine."""
    return _summed(np.nan_to_num(seen.cpu).max(axis=1)[:, None], _memory(seen))


def percentile(seen: Trace, share: float) -> UsageModel:
    """A percentile of each machine's five minutes."""
    return _summed(_quantile(np.nan_to_num(seen.cpu), share)[:, None], _memory(seen))


def sigmas(seen: Trace, count: float) -> UsageModel:
    """Mean and so many standard deviations of the sum, machines taken for independent."""
    cpu = np.nan_to_num(seen.cpu)
    rows = np.stack([cpu.mean(axis=1), cpu.var(axis=1), _memory(seen)], axis=1).astype(np.float32)

    def read(summed: F32) -> F32:
        high = summed[..., 0] + count * np.sqrt(np.maximum(summed[..., 1], 0.0))
        return np.stack([high, summed[..., 2]], axis=-1)

    return UsageModel(rows, read, lambda summed: read(summed)[..., 0])


def hourly(seen: Trace, share: float) -> UsageModel:
    """A percentile of each machine's five minutes in every hour of the day."""
    cpu = np.nan_to_num(seen.cpu).reshape(len(seen), -1, HOURS, WINDOWS_PER_HOUR)
    by_hour = cpu.transpose(0, 2, 1, 3).reshape(len(seen), HOURS, -1)
    return _summed(_quantile(by_hour, share), _memory(seen))


def replayed(seen: Trace, share: float) -> UsageModel:
    """A percentile of the sum of the machines' whole histories."""
    rows = np.concatenate([np.nan_to_num(seen.cpu), _memory(seen)[:, None]], axis=1)
    rank = int(np.ceil(share * seen.cpu.shape[1])) - 1

    def read(summed: F32) -> F32:
        high = np.partition(summed[..., :-1], rank, axis=-1)[..., rank]
        return np.stack([high, summed[..., -1]], axis=-1)

    return UsageModel(rows, read, lambda summed: read(summed)[..., 0])


RULES = (
    Rule("by limit", by_ceiling, (1.0, 1.0)),
    Rule("highest of 7 days", highest, (1.0, 1.0)),
    Rule("p95 of each, 1.0", partial(percentile, share=0.95), (1.0, 0.9)),
    Rule("p95 of each, 0.8", partial(percentile, share=0.95), (0.8, 0.9)),
    Rule("3 sigma of the sum", partial(sigmas, count=3.0), (1.0, 0.9)),
    Rule("5 sigma of the sum", partial(sigmas, count=5.0), (1.0, 0.9)),
    Rule("p95 by hour of day, 0.8", partial(hourly, share=0.95), (0.8, 0.9)),
    Rule("p99.9 of the summed history, 0.9", partial(replayed, share=0.999), (0.9, 0.9)),
)


def _summed(cpu: F32, memory: F32) -> UsageModel:
    """Everything adds up; of several columns of processor the fullest counts."""
    rows = np.concatenate([cpu, memory[:, None]], axis=1).astype(np.float32)

    def read(summed: F32) -> F32:
        return np.stack([summed[..., :-1].max(axis=-1), summed[..., -1]], axis=-1)

    return UsageModel(rows, read, lambda summed: read(summed)[..., 0])


def _memory(seen: Trace) -> F32:
    highest: F32 = np.nan_to_num(seen.memory).max(axis=1)
    return highest


def _quantile(values: F32, share: float) -> F32:
    return np.quantile(values, share, axis=-1).astype(np.float32)
