"""Topping up: hosts packed by a rough measure are filled to their true limits, from the last ones backwards.

Hosts keep the order in which they were filled. Each in turn takes, largest first, what fits it of the
instances that went to the last hosts, until the two ends meet. Only instances that were being placed
move; nobody has seen where they were. Nothing is pushed above a limit.
"""

import numpy as np
import numpy.typing as npt

from workers.scheduler.demand_vector import F32, Rules, as_load, highs
from workers.scheduler.types import F64

_Indices = npt.NDArray[np.intp]

# Instances of the last hosts that are looked at together, and how often for one host.
_AT_ONCE = 256
_ROUNDS = 8


def top_up(demands: F32, bins: _Indices, loads: F32, most: F64, rules: Rules) -> _Indices:
    """Better bins for the demands: rows of loads (what hosts carry before) and most (their limits, infinite
    where a resource is not counted) are hosts in the order they are filled; -1 stays."""
    last = _Last(demands, bins)
    carried = loads.astype(np.float64)
    placed = np.flatnonzero(bins >= 0)
    np.add.at(carried, bins[placed], as_load(demands[placed]))
    for host in range(len(loads)):
        for _ in range(_ROUNDS):
            rows = last.after(host)
            if not len(rows):
                return last.bins
            more = as_load(demands[rows]).astype(np.float64)
            fits = _within(carried[host] + more, most[host], rules)
            rows, more = rows[fits], more[fits]
            if not len(rows):
                break
            count = max(1, _prefix(_within(carried[host] + more.cumsum(axis=0), most[host], rules)))
            np.subtract.at(carried, last.bins[rows[:count]], more[:count])
            carried[host] += more[:count].sum(axis=0)
            last.move(rows[:count], host)
    return last.bins


def _within(loads: F64, most: F64, rules: Rules) -> npt.NDArray[np.bool_]:
    return np.asarray((highs(loads.astype(np.float32), rules) <= most).all(axis=1))


def _prefix(does: npt.NDArray[np.bool_]) -> int:
    return len(does) if does.all() else int(does.argmin())


class _Last:
    """Which instances the last hosts hold, as far as they are looked at."""

    def __init__(self, demands: F32, bins: _Indices) -> None:
        self.bins = bins.copy()
        self._sizes = _sizes(demands)
        order = np.argsort(bins, kind="stable")
        self._order = order[bins[order] >= 0]
        self._is_gone = np.zeros(len(bins), np.bool_)

    def after(self, host: int) -> _Indices:
        """Of the instances on later hosts the last few, largest first."""
        while len(self._order) and self._is_gone[self._order[-1]]:
            self._order = self._order[:-1]
        tail = self._order[-_AT_ONCE:]
        tail = tail[~self._is_gone[tail]]
        tail = tail[self.bins[tail] > host]
        found: _Indices = tail[np.argsort(-self._sizes[tail], kind="stable")]
        return found

    def move(self, rows: _Indices, host: int) -> None:
        """These belong to an earlier host now and stay there."""
        self.bins[rows] = host
        self._is_gone[rows] = True


def _sizes(demands: F32) -> F64:
    """Means of the busiest hour, memory and disk, each as a share of the largest, all together."""
    amounts = highs(as_load(demands), Rules(overload_chance=0.5)).astype(np.float64)
    shares: F64 = (amounts / np.maximum(amounts.max(axis=0, initial=0.0), 1e-9)).sum(axis=1)
    return shares
