"""Placing many instances at once: the same filters, limits and order as one by one, looked at less often.

The hosts that one placement would name first are kept at hand and filled, best fit first. When none of them
has room for the next instance, the whole pool is judged again, as it is by then. The largest go first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workers.scheduler.demand_vector import DEFAULT, F32, NET, Rules, as_load, highs
from workers.scheduler.host_evaluation import limits
from workers.scheduler.place import place
from workers.scheduler.profiles.history import expected
from workers.scheduler.types import F64, InstanceView, Ints, PoolView, Unplaced


@dataclass(frozen=True, slots=True)
class ManyPlaced:
    """host_ids: for each instance the host's id, 0 for nowhere. refusals: why the first of those failed.

    is_unseen: no host could be looked at, which says nothing about room.
    """

    host_ids: tuple[int, ...]
    refusals: tuple[str, ...] = ()
    is_unseen: bool = False

    @property
    def left(self) -> int:
        """How many found no host."""
        return sum(1 for host_id in self.host_ids if not host_id)


def place_all(
    instances: Sequence[InstanceView],
    pool: PoolView,
    rules: Rules = DEFAULT,
) -> ManyPlaced:
    """Return a host for each instance."""
    filling = _Filling(pool, rules)
    found = [0] * len(instances)
    refusals: tuple[str, ...] = ()
    is_unseen = False
    stuck: F32 | None = None
    for index in _largest_first(instances, pool, rules):
        instance = instances[index]
        if stuck is not None and bool((instance.demand >= stuck).all()):
            continue  # one that wants no more of anything has just found nothing
        answer = filling.put(instance)
        if isinstance(answer, Unplaced):
            stuck = instance.demand
            if not refusals:
                refusals = tuple(str(refusal) for refusal in answer.refusals)
                is_unseen = answer.is_unseen
        else:
            found[index] = answer
    return ManyPlaced(tuple(found), refusals, is_unseen)


class _Filling:
    """The pool as it fills, and the hosts at hand."""

    def __init__(self, pool: PoolView, rules: Rules) -> None:
        self._pool = pool
        self._rules = rules
        self._load = pool.load.copy()
        self._beyond = pool.beyond
        self._taken = np.zeros(len(pool), np.int64)
        self._limits = limits(pool, rules)
        self._limits[:, NET] = np.where(pool.offered[:, NET] > 0, self._limits[:, NET], np.inf)
        self._row_of = {int(pk): row for row, pk in enumerate(pool.ids)}
        self._near: Ints | None = None
        self._last: tuple[F32, int] | None = None

    def put(self, instance: InstanceView) -> int | Unplaced:
        """Return the id of the host that takes it, chosen among those at hand, or else in the whole pool."""
        row = self._again(instance)
        if row is None and self._near is not None:
            row = self._best(instance, self._near)
        if row is None:
            answer = place(instance, self._now(), self._rules)
            if isinstance(answer, Unplaced):
                return answer
            self._near = np.array([self._row_of[pk] for pk in answer.candidates], np.int64)
            row = int(self._near[0])
        self._load[row] += as_load(instance.demand)
        self._taken[row] += 1
        self._last = instance.demand, row
        return int(self._pool.ids[row])

    def _again(self, instance: InstanceView) -> int | None:
        """Return the host of one that wanted the same a moment ago, if it still fits: it is the fullest."""
        if self._last is None or not np.array_equal(self._last[0], instance.demand):
            return None
        return self._best(instance, np.array([self._last[1]]))

    def _best(self, instance: InstanceView, rows: Ints) -> int | None:
        """Return the row of the host that is fullest with it, None when it fits on none of these."""
        beyond = None if self._beyond is None else self._beyond[rows]
        if beyond is not None and instance.beyond is not None:
            beyond = beyond + instance.beyond
        after = expected(self._load[rows] + as_load(instance.demand), beyond, self._rules)
        most: F64 = self._limits[rows]
        fits = (after <= most).all(axis=1)
        pool = self._pool
        fits &= pool.instances[rows] + self._taken[rows] < pool.most_instances[rows]
        if not fits.any():
            return None
        shares = np.divide(after, most, where=most > 0, out=np.ones(most.shape)).max(axis=1)
        return int(rows[np.argmax(np.where(fits, shares, -1.0))])

    def _now(self) -> PoolView:
        instances = self._pool.instances + self._taken
        return replace(self._pool, load=self._load.copy(), instances=instances)


def _largest_first(
    instances: Sequence[InstanceView], pool: PoolView, rules: Rules
) -> Sequence[int]:
    if not instances or not len(pool):
        return range(len(instances))
    typical = np.maximum(np.median(limits(pool, rules), axis=0), 1.0)
    wanted = highs(as_load(np.stack([instance.demand for instance in instances])), rules)
    wanted[:, NET] *= typical[NET] > 1
    # Stable: of equals the first asked for goes first.
    order: list[int] = np.argsort(-(wanted / typical).max(axis=1), kind="stable").tolist()
    return order
