"""Reasons why hosts cannot take an instance.

A filter looks at all hosts at once and marks those it refuses; it makes the sentence for one host only
when somebody reads it. The first filter that refuses a host gives its reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workers.scheduler.demand_vector import CPU, DSK, MEM, NET, RESOURCES
from workers.scheduler.host_evaluation import HostEvaluation
from workers.scheduler.types import Bools, Ints

_MIB = 1024 * 1024
_UNITS = {CPU: (1, "millicores"), MEM: (_MIB, "MiB"), DSK: (_MIB, "MiB"), NET: (1024, "KiB/s")}


@dataclass(frozen=True, slots=True)
class Filter:
    """refuses: marks the hosts that will not do. why: the sentence for the host of one row.

    scarce: what the pool lacks when most hosts are refused by it.
    """

    refuses: Callable[[HostEvaluation], Bools]
    why: Callable[[HostEvaluation, int], str]
    scarce: str = ""


def _has_trouble(judged: HostEvaluation) -> Bools:
    return _rows(judged, list(judged.pool.disk_trouble))


def _is_crowded(judged: HostEvaluation) -> Bools:
    return np.asarray(judged.pool.instances >= judged.pool.most_instances)


def _is_starting_enough(judged: HostEvaluation) -> Bools:
    return np.asarray(judged.pool.starting >= judged.rules.starts_per_host)


def _is_busy(judged: HostEvaluation) -> Bools:
    # Of memory alone: a processor that has much to do at a moment makes things wait, it does not end them.
    return np.asarray(judged.pool.busy[:, 1] > judged.rules.busy_share)


def _has_no_room(judged: HostEvaluation) -> Bools:
    return np.asarray(judged.lacks.any(axis=1))


def _why_busy(judged: HostEvaluation, row: int) -> str:
    return f"is busy: {judged.pool.busy[row][1]:.0%} of its memory is in use just now"


def _why_no_room(judged: HostEvaluation, row: int) -> str:
    before = judged.before(row)
    lacks = [
        _lack(
            int(resource),
            judged.after[row, resource],
            judged.limits[row, resource],
            before[resource],
        )
        for resource in np.flatnonzero(judged.lacks[row])
    ]
    return f"has no room: {', '.join(lacks)}"


def _lack(resource: int, after: float, limit: float, before: float) -> str:
    unit, word = _UNITS[resource]
    return (
        f"{RESOURCES[resource]} ({before / unit:.0f} of {limit / unit:.0f} {word} planned, "
        f"{max(after - before, 0) / unit:.0f} more wanted)"
    )


def _says(sentence: str) -> Callable[[HostEvaluation, int], str]:
    def why(judged: HostEvaluation, row: int) -> str:
        return sentence

    return why


def _rows(judged: HostEvaluation, rows: list[int]) -> Bools:
    marked = _none(judged)
    marked[rows] = True
    return marked


def _none(judged: HostEvaluation) -> Bools:
    return np.zeros(len(judged.pool), np.bool_)


FILTERS: tuple[Filter, ...] = (
    # A host that does not report may be gone, or may come back: nothing new goes there.
    Filter(lambda j: ~j.pool.is_seen, _says("has not reported in the last seconds")),
    Filter(lambda j: ~j.pool.is_open, _says("is cordoned"), "open hosts"),
    # What is booked is a guess about disks; what the host says of them is not.
    Filter(_has_trouble, lambda j, row: f"disk: {j.pool.disk_trouble[row]}", "sound disks"),
    Filter(
        _is_crowded,
        lambda j, row: f"holds {j.pool.instances[row]} instances, its most",
        "instances",
    ),
    Filter(_has_no_room, _why_no_room),
    Filter(_is_busy, _why_busy, "memory"),
    # Last: it passes by itself within seconds, and every other reason says more.
    Filter(
        _is_starting_enough, lambda j, row: f"is starting {j.pool.starting[row]} others just now"
    ),
)
# Numbers of filters: who is silent, who has no room, who is busy starting others (after all others).
UNSEEN = 0
NO_ROOM = [look.refuses for look in FILTERS].index(_has_no_room)
STARTING = len(FILTERS) - 1


def passing_but(judged: HostEvaluation, *numbers: int) -> Bools:
    """Return which hosts would do if these filters did not count."""
    refused = _none(judged)
    for number, look in enumerate(FILTERS):
        if number not in numbers:
            refused |= look.refuses(judged)
    return ~refused


def scarce(judged: HostEvaluation, refused: Ints) -> tuple[str, str]:
    """Return what is missing when no host will do, and the sentence that says so with figures.

    refused: per host the number of the first filter that refuses it. What most hosts lack counts.
    """
    kinds = np.bincount(refused[refused > UNSEEN], minlength=len(FILTERS))
    most = int(kinds.argmax())
    if most != NO_ROOM:
        row = int(np.flatnonzero(refused == most)[0])
        return FILTERS[
            most
        ].scarce, f"host {judged.pool.names[row]} {FILTERS[most].why(judged, row)}"
    rows = np.flatnonzero(refused == NO_ROOM)
    resource = int(judged.lacks[rows].sum(axis=0).argmax())
    unit, word = _UNITS[resource]
    before = sum(float(judged.before(int(row))[resource]) for row in rows)
    limit = float(judged.limits[rows, resource].sum())
    hosts = f" on {len(rows)} hosts" if len(rows) > 1 else ""
    return RESOURCES[resource], (
        f"{RESOURCES[resource]}: {before / unit:,.0f} of {limit / unit:,.0f} {word} are booked{hosts}, "
        f"{float(judged.wanted[resource]) / unit:,.2g} more wanted"
    )
