"""The 1,080 vector bin packing instances of Mommessin et al. (2025), their published results, and peers.

The files lie in bench/data/vbp with their licence (MIT). The peers are written from their descriptions;
they are here because a figure is only worth something beside one measured in the same run.
"""

import csv
import gzip
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.research.vector_bin_packing import Matrix

FOLDER = Path(__file__).resolve().parents[1] / "data" / "vbp"
# Sizes and capacities are whole numbers up to 100; shares of them add up with errors far below this.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Instance:
    """Items (a row of sizes each) for equal bins."""

    name: str
    sizes: Matrix
    capacity: Matrix


def instances() -> list[Instance]:
    """All of them, by name."""
    found = []
    with tarfile.open(FOLDER / "New_instances.tar.gz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.name.endswith(".vbp") else None
            if content is not None:
                name = Path(member.name).stem
                found.append(parse(name, content.read().decode()))
    return sorted(found, key=lambda one: one.name)


def parse(name: str, text: str) -> Instance:
    """Dimensions; capacities; rows; then rows of sizes and how many such items there are."""
    numbers = np.array(text.split(), np.float64)
    dimensions = int(numbers[0])
    capacity = numbers[1 : 1 + dimensions]
    rows = numbers[2 + dimensions :].reshape(int(numbers[1 + dimensions]), dimensions + 1)
    sizes = np.repeat(rows[:, :-1], rows[:, -1].astype(np.int64), axis=0)
    return Instance(name, sizes, capacity)


def published(algorithm: str) -> Mapping[str, int]:
    """Bins by instance of one of the published algorithms."""
    with gzip.open(FOLDER / "New_multidim_full.csv.gz", "rt") as file:
        return {
            row["instance_name"]: int(row[algorithm])
            for row in csv.DictReader(file, delimiter="\t")
        }


def known_least() -> Mapping[str, int]:
    """The fewest bins possible where that is known, else a bound below it."""
    found = {}
    with gzip.open(FOLDER / "New_multidim_full.csv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            best = int(row["OPT"])
            found[row["instance_name"]] = best if best > 0 else int(row["LB"])
    return found


def dot_product(instance: Instance) -> int:
    """BCS-DP1-Avg-Dyn, the best simple heuristic published: the open bin takes the fitting item with the
    largest dot product of size and room, resources weighed by what is left to be packed of them."""
    left = instance.sizes / instance.capacity
    weights = left.sum(axis=0)
    bins = 0
    while len(left):
        bins += 1
        room, items, places = np.ones(left.shape[1]), left, np.arange(len(left))
        used = []
        while len(items):
            best = int((items @ (weights * room)).argmax())
            item = items[best]
            used.append(places[best])
            room, weights = room - item, weights - item
            fits = (items <= room + _TOLERANCE).all(axis=1)
            fits[best] = False
            places, items = places[fits], items[fits]
        left = np.delete(left, used, axis=0)
    return bins


def first_fit(instance: Instance) -> int:
    """Each item, as it comes, into the first bin with room."""
    return _one_by_one(instance.sizes / instance.capacity, is_best=False)


def first_fit_decreasing(instance: Instance) -> int:
    """First fit, the largest first (norm of the sizes, resources weighed by their mean)."""
    return _one_by_one(_largest_first(instance), is_best=False)


def best_fit_decreasing(instance: Instance) -> int:
    """The largest first, each into the bin with the least room left."""
    return _one_by_one(_largest_first(instance), is_best=True)


def _largest_first(instance: Instance) -> Matrix:
    shares: Matrix = instance.sizes / instance.capacity
    size = (shares.mean(axis=0) * np.square(shares)).sum(axis=1)
    return shares[np.argsort(-size, kind="stable")]


def _one_by_one(shares: Matrix, *, is_best: bool) -> int:
    room = np.ones((len(shares), shares.shape[1]))
    weights = shares.mean(axis=0)
    bins = 0
    for item in shares:
        fits = (room[:bins] + _TOLERANCE >= item).all(axis=1)
        if not fits.any():
            place = bins
            bins += 1
        elif is_best:
            left = (np.square(room[:bins] - item) * weights).sum(axis=1)
            place = int(np.where(fits, left, np.inf).argmin())
        else:
            place = int(fits.argmax())
        room[place] -= item
    return bins


PEERS = {
    "First Fit": ("FF", first_fit),
    "First Fit, largest first": ("FFD-L2-Avg", first_fit_decreasing),
    "Best Fit, largest first": ("BFD-T1-L2-Avg", best_fit_decreasing),
    "dot product (BCS-DP1-Avg-Dyn)": ("BCS-DP1-Avg-Dyn", dot_product),
}
