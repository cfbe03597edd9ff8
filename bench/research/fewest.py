"""The fewest hosts for a set of instances, and the load evened out over them, by summed histories.

No production code plans a whole pool anew; this says how few hosts would do (docs/decisions/0018). How many
hosts are needed is mostly decided by what cannot be shared, memory.

`level` puts instances on given hosts: largest first, each where the fullest resource stays lowest; then
the worst host gives instances away, or swaps them, until all fit and after that as long as the strain
falls. `fewest` tries how many of the hosts it takes. Both are for some dozen hosts at a time.
"""

from dataclasses import dataclass

import numpy as np

from bench.research.weeks import peaks
from workers.scheduler.demand_vector import CPU, DEFAULT, F32, LOAD_WIDTH, Rules, as_load, highs
from workers.scheduler.rebalancing.level import Levelling
from workers.scheduler.rebalancing.usage_model import UsageModel
from workers.scheduler.types import F64, Ints

_ROUNDS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Levelled:
    """hosts [n]: the row of the host of each instance. shares [k, r]: of each host's limits."""

    hosts: Ints
    shares: F64

    @property
    def fits(self) -> bool:
        """Whether no host is beyond any limit."""
        return bool((self.shares <= 1.0 + 1e-6).all())


def fewest(gauge: UsageModel, limits: F64) -> Levelled:
    """On as few of the hosts, taken in order, as hold all instances; on all when even they do not."""
    count = _lower_bound(gauge, limits)
    while True:
        found = level(gauge, limits[:count])
        if found.fits or count >= len(limits):
            return found
        count += 1


def level(gauge: UsageModel, limits: F64) -> Levelled:
    """Every instance on one of the hosts, as evenly as found."""
    state = Levelling(gauge, limits)
    for row in _largest_first(state):
        state.put(row, _best_host(state, row))
    for costs in (state.fullness, state.strain):
        for _ in range(_ROUNDS):
            if not state.relieve(costs):
                break
    return Levelled(state.hosts, gauge.shares(state.sums, limits))


def measured(demands: F32, histories: F32, rules: Rules = DEFAULT) -> UsageModel:
    """By summed histories; its resources are those of demand_vector.RESOURCES.

    Processor is the peak of the summed histories. Strain is the sum of each instance's own peak, which
    is never planned with: instances that have not risen together so far may yet do so, and that is
    borne best where every host bears the same.
    """
    own_peaks = peaks(histories, rules)[:, None]
    rows = np.concatenate([as_load(demands), histories, own_peaks], axis=1)

    def read(summed: F32) -> F32:
        used = highs(summed[..., :LOAD_WIDTH], rules)
        used[..., CPU] = peaks(summed[..., LOAD_WIDTH:-1], rules)
        return used

    def strain(summed: F32) -> F32:
        own: F32 = summed[..., -1]
        return own

    return UsageModel(rows, read, strain)


def _lower_bound(gauge: UsageModel, limits: F64) -> int:
    """Hosts needed if everything could be cut at will."""
    together = gauge.read(gauge.rows.sum(axis=0, dtype=np.float64).astype(np.float32))
    offered = np.cumsum(limits, axis=0)
    enough = ((offered >= together) | (limits <= 0)).all(axis=1)
    return int(np.argmax(enough)) + 1 if enough.any() else len(limits)


def _largest_first(state: Levelling) -> Ints:
    sizes = state.gauge.shares(state.gauge.rows, state.limits[0]).max(axis=1)
    return np.argsort(-np.round(sizes, 6), kind="stable")


def _best_host(state: Levelling, row: int) -> int:
    """Where the fullest resource stays lowest."""
    after = state.gauge.shares(state.sums + state.gauge.rows[row], state.limits)
    return int(np.argmin(after.max(axis=1)))
