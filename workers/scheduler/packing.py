"""Vector bin packing in bulk: many instances onto as few hosts as possible, by all resources at once.

Bins are filled one after another. A bin begins with the heaviest item; then several ways to go on are
followed side by side (the WIDTH items that match what is still free best, by weighted dot product, each
completed greedily), and the one that fills the bin best is kept. Resources weigh what is still to be
packed of them, so that the scarce one decides. One way alone is the bin-centric dot product with dynamic
weights, the best simple heuristic published; looking at a few saves three in a hundred bins.

Work is bounded by counts, never by a clock: the same input gives the same answer on any machine.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
_Grid = NDArray[np.int16]
_Floats = NDArray[np.float32]
_Indices = NDArray[np.intp]
_Words = NDArray[np.uint64]

# Sizes are compared as whole numbers of at most this: exact where they are whole numbers of some unit
# that fits, rounded up to a part of this elsewhere, so that a bin is never overfull.
_UNITS = 32_760
_LANES = 4
_GUARD = np.uint64(0x8000_8000_8000_8000)
# Powers of what is left to be packed that resources may weigh, and ways followed: tried in this order …
_TRIES = ((2.0, 16), (1.0, 16), (3.0, 16), (1.5, 24), (2.5, 24), (4.0, 24), (2.0, 48), (1.0, 48))
# … as long as items times ways stay below this. The first is tried always, narrower when there are many.
_WORK = 12_000
_MANY = 80_000


@dataclass(frozen=True, slots=True)
class Packing:
    """bin_of: the bin of each item, numbered from 0. bins: how many. least: no packing can need fewer."""

    bin_of: tuple[int, ...]
    bins: int
    least: int


def pack(sizes: Matrix, capacity: Matrix) -> Packing:
    """All items (a row of sizes each) into equal bins; ValueError names an item that no bin can hold."""
    if not len(sizes):
        return Packing((), 0, 0)
    _refuse_oversized(sizes, capacity)
    grid, full = on_grid(sizes, capacity)
    least = int(np.ceil(grid.sum(0, dtype=np.int64) / full).max())
    best: tuple[int, _Indices] | None = None
    done = 0
    for power, width in _TRIES:
        done += len(grid) * width
        if best is not None and (done > _WORK or best[0] <= least):
            break
        bins, bin_of = _fill(grid, full, power, _width(width, len(grid)))
        if best is None or bins < best[0]:
            best = bins, bin_of
    assert best is not None
    return Packing(tuple(best[1].tolist()), best[0], max(least, 1))


def _width(width: int, items: int) -> int:
    return max(1, min(width, _MANY // items))


def _refuse_oversized(sizes: Matrix, capacity: Matrix) -> None:
    over = np.argwhere(sizes > capacity)
    if len(over):
        item, resource = over[0]
        raise ValueError(
            f"item {item} needs {sizes[item, resource]:g} of resource {resource} and a bin holds"
            f" {capacity[resource]:g}: take larger bins or leave the item out"
        )


def on_grid(sizes: Matrix, capacity: Matrix) -> tuple[_Grid, _Grid]:
    """Sizes and capacity in whole units, resources that nobody wants left out; never smaller than true."""
    wanted = (sizes > 0).any(0)
    if not wanted.any():
        wanted[0] = True
    columns, full = [], []
    for column, whole in zip(sizes[:, wanted].T, capacity[wanted], strict=True):
        unit = _common_unit(column, float(whole))
        if unit:
            columns.append(column / unit)
            full.append(float(whole) / unit)
        else:
            columns.append(np.ceil(column * (_UNITS / max(float(whole), 1e-300)) - 1e-6))
            full.append(_UNITS)
    return np.stack(columns, 1).astype(np.int16), np.asarray(full).astype(np.int16)


def _common_unit(column: Matrix, whole: float) -> int:
    """The largest unit that all sizes and the capacity are whole numbers of; 0 if they would not fit."""
    if whole < 1 or whole != math.floor(whole) or (column != np.floor(column)).any():
        return 0
    unit = math.gcd(int(whole), int(np.gcd.reduce(column.astype(np.int64))))
    return unit if whole / unit <= _UNITS else 0


def _fill(grid: _Grid, full: _Grid, power: float, width: int) -> tuple[int, _Indices]:
    """Bin after bin until nothing is left."""
    share = (grid / full).astype(np.float32)
    words, room = _packed(grid), _packed(full[None, :])[:, 0] | _GUARD
    bin_of = np.full(len(grid), -1, np.intp)
    is_left = np.ones(len(grid), bool)
    left = share.sum(0, dtype=np.float64)
    bins = 0
    while np.count_nonzero(is_left):
        weights = _weights(left, power)
        gain = share @ weights
        seed = int(np.where(is_left, gain, -1.0).argmax())
        chosen = [seed]
        is_left[seed] = False
        free = room - words[:, seed]
        fitting = (_fits(words, free) & is_left).nonzero()[0]
        if len(fitting):
            items = _Items(words[:, fitting], share[fitting], gain[fitting])
            more = fitting[_best_way(items, free, weights * (1 - share[seed]), weights, width)]
            chosen.extend(more.tolist())
            is_left[more] = False
        bin_of[chosen] = bins
        left -= np.add.reduce(share[chosen], 0)
        bins += 1
    return bins, bin_of


def _weights(left: Matrix, power: float) -> _Floats:
    most = max(left.tolist())
    if most <= 0:
        return np.ones(len(left), np.float32)
    weights: _Floats = ((np.maximum(left, 0.0) / most) ** power).astype(np.float32)
    return weights


@dataclass(frozen=True, slots=True)
class _Items:
    words: _Words
    share: _Floats
    gain: _Floats


def _best_way(
    items: _Items, free: _Words, weighed: _Floats, weights: _Floats, width: int
) -> list[int]:
    """Of several ways to fill what is free, the one that fills most."""
    match = items.share @ weighed
    first = _largest(match, width)
    ways = np.arange(len(first))
    rest = free[:, None] - items.words[:, first]
    fits = _fits(items.words[:, None, :], rest[:, :, None])
    fits[ways, first] = False
    filled = items.gain[first]
    steps = [first]
    while np.count_nonzero(fits):
        if len(steps) == 1:  # most bins are full before
            weighted, columns = items.share * weights, items.share.T
            open_for = weighed - weighted[first]
        scores = open_for @ columns
        scores *= fits
        scores += fits
        nexts = scores.argmax(1)
        goes_on = fits[ways, nexts]
        steps.append(np.where(goes_on, nexts, -1))
        filled = filled + items.gain[nexts] * goes_on
        open_for -= weighted[nexts] * goes_on[:, None]
        rest -= items.words[:, nexts] * goes_on
        fits &= _fits(items.words[:, None, :], rest[:, :, None])
        fits[ways, nexts] = False
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
    return kept == _GUARD
