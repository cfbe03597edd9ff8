"""What a placement would have cost on what was really used afterwards."""

from dataclasses import dataclass

import numpy as np

from bench.research.traces import Trace
from workers.scheduler.types import F64, Ints

WINDOW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """hosts: in use. overloaded: share of host-windows that wanted more processor than there is.

    unmet: share of all processor wanted that was not there. short_of_memory: share of host-windows that
    wanted more memory than there is. highest: of any host's processor, as a share of what it has.
    """

    hosts: int
    overloaded: float
    overload_seconds: int
    unmet: float
    short_of_memory: float
    highest: float


def outcome(trace: Trace, hosts: Ints, cpu_millis: float, memory_bytes: float) -> Outcome:
    """Of instances on equal hosts, hosts[i] being the host of instance i, over the whole trace."""
    used = np.unique(hosts)
    at = np.searchsorted(used, hosts)
    wanted = _by_host(trace.cpu, at, len(used))
    memory = _by_host(trace.memory, at, len(used))
    over = wanted > cpu_millis
    beyond = np.maximum(wanted - cpu_millis, 0.0).sum()
    return Outcome(
        hosts=len(used),
        overloaded=float(over.mean()),
        overload_seconds=int(over.sum()) * WINDOW_SECONDS,
        unmet=float(beyond / max(wanted.sum(), 1.0)),
        short_of_memory=float((memory > memory_bytes).mean()),
        highest=float(wanted.max() / cpu_millis),
    )


def _by_host(values: np.ndarray, at: Ints, count: int) -> F64:
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, at, np.nan_to_num(values))
    return total
