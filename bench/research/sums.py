"""What hosts carry, worked out from all instances at once; the product adds and subtracts one at a time."""

import numpy as np
import numpy.typing as npt

from bench.research.weeks import HISTORY_WIDTH
from workers.scheduler.demand_vector import F32, LOAD_WIDTH, as_load


def loads_by_host(demands: F32, hosts: npt.NDArray[np.integer], count: int) -> F32:
    """Loads of `count` hosts from all demands; hosts[i] is the row of the host of demand i, < 0 for none."""
    total = np.zeros((count, LOAD_WIDTH), np.float64)
    placed = hosts >= 0
    order = np.argsort(hosts[placed], kind="stable")
    rows = as_load(demands[placed][order])
    at = hosts[placed][order]
    if len(at):
        starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
        total[at[starts]] = np.add.reduceat(rows, starts, axis=0, dtype=np.float64)
    return total.astype(np.float32)


def histories_by_host(rows: F32, hosts: npt.NDArray[np.integer], count: int) -> F32:
    """Histories of `count` hosts from those of instances; hosts[i] is the row of the host, < 0 for none."""
    total = np.zeros((count, HISTORY_WIDTH), np.float32)
    placed = np.flatnonzero(hosts >= 0)
    placed = placed[np.argsort(hosts[placed], kind="stable")]
    at = hosts[placed]
    if len(at):
        starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
        total[at[starts]] = np.add.reduceat(rows[placed], starts, axis=0)
    return total
