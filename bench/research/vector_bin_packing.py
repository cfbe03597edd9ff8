"""Vector bin packing: many items into few bins, by all resources at once.

Bins are filled one after another. A bin begins with the heaviest item that fits; then several ways to go
on are followed side by side (the items that match what is still free best, by weighted dot product, each
completed greedily), and the one that fills the bin best is kept. Resources weigh what is still to be
packed of them, so that the scarce one decides. One way alone is the bin-centric dot product with dynamic
weights, the best simple heuristic published (Mommessin et al., 2025); looking at sixteen saves more than
three in a hundred bins and takes less than twice the time, because they are looked at together.

Work is bounded by counts, never by a clock: the same input gives the same answer on any machine.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from workers.scheduler.demand_vector import refuse_no_amount

Matrix = NDArray[np.float64]
_Grid = NDArray[np.int16]
_Floats = NDArray[np.float32]
_Indices = NDArray[np.intp]
_Words = NDArray[np.uint64]

# Sizes are compared as whole numbers of at most this: exact where they are whole numbers of some unit
# that fits, rounded up to a part of this elsewhere, so that a bin is never overfull.
UNITS = 32_760
_LANES = 4
_GUARD = np.uint64(0x8000_8000_8000_8000)
# Powers of what is left to be packed that resources may weigh, and ways followed: tried in this order,
# the first always, the others while items times ways stay below _WORK. All share of a bin's capacity.
TRIES = ((2.0, 16), (1.0, 16), (3.0, 16), (1.5, 24), (2.5, 24), (4.0, 24), (2.0, 48), (1.0, 48))
_WORK = 12_000
# Items looked at for a bin; of more, an even sample by size.
_WINDOW = 2_048
# Items that one way alone takes between two looks at what is still free.
_CHUNK = 16
# Ways times items times words of one look.
_LOOK = 24_000


@dataclass(frozen=True, slots=True)
class Packing:
    """bin_of: the bin of each item, numbered from 0. bins: how many. least: no packing can need fewer."""

    bin_of: tuple[int, ...]
    bins: int
    least: int


def pack(sizes: Matrix, capacity: Matrix) -> Packing:
    """All items (a row of sizes each) into equal bins.

    ValueError names an item that no bin can hold, and an amount that is no finite number of 0 or more.
    """
    refuse_no_amount(sizes, "item")
    refuse_no_amount(np.atleast_2d(capacity), "bin")
    if not len(sizes):
        return Packing((), 0, 0)
    _refuse_oversized(sizes, capacity)
    grid, full = _exact_grid(sizes, capacity)
    least = max(1, int(np.ceil(grid.sum(0, dtype=np.int64) / full).max()))
    best: tuple[int, _Indices] | None = None
    work = 0
    for power, ways in TRIES:
        work += len(grid) * ways
        if best is not None and (work > _WORK or best[0] <= least):
            break
        bin_of = fill(grid, full, repeat(full), power, ways)
        bins = int(bin_of.max()) + 1
        if best is None or bins < best[0]:
            best = bins, bin_of
    assert best is not None  # noqa: S101 - the first try is always made
    return Packing(tuple(best[1].tolist()), best[0], least)


def _refuse_oversized(sizes: Matrix, capacity: Matrix) -> None:
    over = np.argwhere(sizes > capacity)
    if len(over):
        item, resource = over[0]
        raise ValueError(
            f"item {item} needs {sizes[item, resource]:g} of resource {resource} and a bin holds"
            f" {capacity[resource]:g}: take larger bins or leave the item out"
        )


def _exact_grid(sizes: Matrix, capacity: Matrix) -> tuple[_Grid, _Grid]:
    """Sizes and capacity in whole units, resources that nobody wants left out; never smaller than true."""
    wanted = (sizes > 0).any(axis=0)
    if not wanted.any():
        return np.zeros((len(sizes), 1), np.int16), np.ones(1, np.int16)
    columns, full = [], []
    for column, whole in zip(sizes[:, wanted].T, capacity[wanted].tolist(), strict=True):
        unit = _common_unit(column, whole)
        if unit:
            columns.append(column / unit)
            full.append(whole / unit)
        else:
            columns.append(np.ceil(column * (UNITS / whole) - 1e-6))
            full.append(UNITS)
    return np.stack(columns, 1).astype(np.int16), np.asarray(full).astype(np.int16)


def _common_unit(column: Matrix, whole: float) -> int:
    """The largest unit that all sizes and the capacity are whole numbers of; 0 if they would not fit."""
    if whole != math.floor(whole) or (column != np.floor(column)).any():
        return 0
    unit = math.gcd(int(whole), int(np.gcd.reduce(column.astype(np.int64))))
    return unit if whole / unit <= UNITS else 0


@dataclass(slots=True)
class _Items:
    """Items still to be packed, heaviest first. words: as _fits compares them; share: of a bin."""

    rows: _Indices
    words: _Words
    share: _Floats

    def only(self, places: _Indices) -> "_Items":
        return _Items(self.rows[places], self.words[:, places], self.share[places])


def fill(grid: _Grid, full: _Grid, rooms: Iterable[_Grid], power: float, ways: int) -> _Indices:
    """Bin after bin until nothing is left, or no bin."""
    share = (grid / full).astype(np.float32)
    left = share.sum(axis=0, dtype=np.float64)
    order = np.argsort(-(share @ _weights(left, power)), kind="stable")
    items = _Items(order, _packed(grid[order]), share[order])
    ways = _affordable(ways, len(grid), len(items.words))
    whole = np.ones(_WINDOW + 1, np.bool_)
    bin_of = np.full(len(grid), -1, np.intp)
    is_left = np.ones(len(grid), np.bool_)
    count = len(grid)
    for number, (room, free) in enumerate(_guarded(rooms, full)):
        if 2 * count < len(is_left) and count > 0:
            items = items.only(is_left.nonzero()[0])
            is_left = np.ones(count, np.bool_)
        weights = _weights(left, power)
        if count > _WINDOW:
            sample = _sample(is_left.nonzero()[0], number)
            few = items.only(sample)
            found = _choose(few, whole[: len(sample)], room, free, weights, ways)
            chosen = sample[found].tolist()
        else:
            chosen = _choose(items, is_left, room, free, weights, ways)
        is_left[chosen] = False
        count -= len(chosen)
        bin_of[items.rows[chosen]] = number
        left -= np.add.reduce(items.share[chosen], 0)
        if not count:
            break
    return bin_of


def _guarded(rooms: Iterable[_Grid], full: _Grid) -> Iterator[tuple[_Words, _Floats]]:
    """Each room as words for _fits, and as shares of a bin."""
    last: _Grid | None = None
    for room in rooms:
        if room is not last:
            words = _packed(room[None, :])[:, 0] | _GUARD
            share = (room / full).astype(np.float32)
            last = room
        yield words, share


def _sample(places: _Indices, number: int) -> _Indices:
    """The heaviest, and evenly of all others, from another start for every bin."""
    step = -(-len(places) // _WINDOW)
    return np.unique(np.concatenate([places[:1], places[number % step :: step]]))


def _affordable(ways: int, items: int, words: int) -> int:
    return max(1, min(ways, _LOOK // (items * words)))


def _weights(left: Matrix, power: float) -> _Floats:
    most = max(left.tolist())
    if most <= 0:
        return np.ones(len(left), np.float32)
    weights: _Floats = ((np.maximum(left, 0.0) / most) ** power).astype(np.float32)
    return weights


def _choose(
    items: _Items,
    is_left: NDArray[np.bool_],
    room: _Words,
    free: _Floats,
    weights: _Floats,
    ways: int,
) -> list[int]:
    """What goes into one bin: the heaviest item that fits, and the best way on from there."""
    gain = items.share @ weights
    ranked = np.where(is_left, gain, -1.0)
    seed = int(ranked.argmax())
    if not _fits(items.words[:, seed], room):
        ranked[~_fits(items.words, room)] = -1.0
        seed = int(ranked.argmax())
        if ranked[seed] < 0:
            return []
    rest = room - items.words[:, seed]
    fits = _fits(items.words, rest) & is_left
    fits[seed] = False
    more = fits.nonzero()[0]
    if not len(more):
        return [seed]
    window, weighed = items.only(more), weights * (free - items.share[seed])
    if ways == 1:
        way = _one_way(window, rest, weighed, weights)
    else:
        way = _best_way(window, gain[more], rest, weighed, weights, ways)
    return [seed, *more[way].tolist()]


def _one_way(items: _Items, free: _Words, weighed: _Floats, weights: _Floats) -> list[int]:
    """What fills the room that is free, best matches first, matched again after every chunk."""
    chosen: list[int] = []
    places = np.arange(len(items.rows))
    rest = free.copy()
    while len(places):
        scores = items.share[places] @ weighed
        taken: list[int] = []
        # All of these fit alone, so the first does; the others as far as those before them leave room.
        for rank in np.argsort(-scores, kind="stable")[: 2 * _CHUNK].tolist():
            after = rest - items.words[:, places[rank]]
            if ((after & _GUARD) == _GUARD).all():
                rest = after
                taken.append(rank)
                if len(taken) == _CHUNK:
                    break
        found = places[taken]
        chosen += found.tolist()
        weighed = weighed - weights * np.add.reduce(items.share[found], 0)
        fits = _fits(items.words[:, places], rest)
        fits[taken] = False
        places = places[fits]
    return chosen


def _best_way(
    items: _Items, gain: _Floats, free: _Words, weighed: _Floats, weights: _Floats, ways: int
) -> list[int]:
    """Of several ways to fill what is free, the one that fills most. weighed: what is free, weighed."""
    first = _largest(items.share @ weighed, ways)
    numbers = np.arange(len(first))
    rest = free[:, None] - items.words[:, first]
    fits = _fits(items.words[:, None, :], rest[:, :, None])
    fits[numbers, first] = False
    filled = gain[first]
    steps = [first]
    while np.count_nonzero(fits):
        if len(steps) == 1:  # most bins are full before
            weighted, columns = items.share * weights, items.share.T
            open_for = weighed - weighted[first]
        scores = open_for @ columns
        scores *= fits
        scores += fits
        nexts = scores.argmax(1)
        goes_on = fits[numbers, nexts]
        steps.append(np.where(goes_on, nexts, -1))
        filled = filled + gain[nexts] * goes_on
        open_for -= weighted[nexts] * goes_on[:, None]
        rest -= items.words[:, nexts] * goes_on
        fits &= _fits(items.words[:, None, :], rest[:, :, None])
        fits[numbers, nexts] = False
    best = int(filled.argmax())
    return [int(step[best]) for step in steps if step[best] >= 0]


def _largest(values: _Floats, count: int) -> _Indices:
    """The places of the largest values, in the order of the places."""
    if len(values) <= count:
        return np.arange(len(values))
    places = np.argpartition(values, len(values) - count)[-count:]
    places.sort()
    return places


def _packed(grid: _Grid) -> _Words:
    """Four resources to a word, 16 bits each, the highest bit left for _fits: words × items."""
    missing = -grid.shape[1] % _LANES
    lanes = np.pad(grid, ((0, 0), (0, missing))).astype(np.uint16)
    return np.ascontiguousarray(lanes.view(np.uint64).T)


def _fits(words: _Words, free: _Words) -> NDArray[np.bool_]:
    """Whether items fit: a resource that runs out takes the guard bit above it away."""
    kept = free[0] - words[0]
    for mine, wanted in zip(free[1:], words[1:], strict=True):
        kept &= mine - wanted
    kept &= _GUARD
    does: NDArray[np.bool_] = kept == _GUARD
    return does
