"""How full a host is with some instances: what adds up per instance, and how the sum is read.

The scheduler's own gauge is `shaped`. The benches have others, one per rule they compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from workers.scheduler.demand_vector import CPU_MEAN, CPU_SWING, DEFAULT, F32, Rules, as_load, highs
from workers.scheduler.types import F64


@dataclass(frozen=True, slots=True, eq=False)
class UsageModel:
    """rows [n, w]: what adds up. read: from summed rows [..., w] to amounts in use [..., r].

    strain: from summed rows to one amount of the first resource, which is evened out over hosts.
    """

    rows: F32
    read: Callable[[F32], F32]
    strain: Callable[[F32], F32]

    def shares(self, summed: F32, limits: F64) -> F64:
        """Return the share of each limit [..., r] that is in use; a limit of 0 is not counted."""
        used = self.read(summed)
        shares: F64 = np.divide(used, limits, where=limits > 0, out=np.zeros(used.shape))
        return shares


def shaped(demands: F32, rules: Rules = DEFAULT) -> UsageModel:
    """By daily shapes; strain is what all could take in one hour together.

    The strain of a host can be read from its load alone, so that of a whole pool costs one look.
    """
    return UsageModel(as_load(demands), partial(highs, rules=rules), partial(together, rules=rules))


def together(load: F32, rules: Rules = DEFAULT) -> F32:
    """Processor if everything on a host rose in the same five minutes, per row of load."""
    highest: F32 = (load[..., CPU_MEAN] + np.float32(rules.z) * load[..., CPU_SWING]).max(axis=-1)
    return highest
