"""Placing one instance: refuse, score, order; ties break by id, so the answer is repeatable."""

from collections.abc import Sequence

import numpy as np

from workers.scheduler.demand_vector import CPU, DEFAULT, Rules
from workers.scheduler.filters import FILTERS, NO_ROOM, STARTING, UNSEEN, passing_but, scarce
from workers.scheduler.host_evaluation import HostEvaluation, judge
from workers.scheduler.scorers import SCORERS
from workers.scheduler.types import (
    F64,
    Bools,
    Decision,
    InstanceView,
    Ints,
    Placed,
    PoolView,
    Refusal,
    Unplaced,
    Verdict,
)

# A decision is read by a person: past this many refusals the rest are only counted.
SHOWN_REFUSALS = 20
# Enough to walk on to when the first ones were taken meanwhile.
SHOWN_CANDIDATES = 64
ENOUGH_CANDIDATES = 16
# Recorded weeks read together.
_AT_ONCE = 64


def place(instance: InstanceView, pool: PoolView, rules: Rules = DEFAULT) -> Decision:
    """Return the hosts that can take the instance, best first, with reasons; or why none can."""
    judged, refused, scores, looked_at = _look(instance, pool, rules, enough=ENOUGH_CANDIDATES)
    ranked = _ranked(judged, looked_at & (refused < 0), _total(scores))
    others = _by_id(judged, np.flatnonzero(looked_at & (refused >= 0)))
    shown = tuple(_refusal(judged, refused, row) for row in others[:SHOWN_REFUSALS])
    hidden = len(others) - len(shown)
    if not len(ranked):
        return _unplaced(judged, refused, shown, hidden)
    best = f"{pool.names[ranked[0]]}: {_why_best(judged, ranked[0], len(ranked))}"
    return Placed(
        candidates=tuple(int(pool.ids[row]) for row in ranked[:SHOWN_CANDIDATES]),
        reasons=(best, *sentences(shown, hidden)),
    )


def _unplaced(
    judged: HostEvaluation, refused: Ints, shown: tuple[Refusal, ...], hidden: int
) -> Unplaced:
    if not judged.pool.is_seen.any():
        return Unplaced(shown, "unseen", hidden)
    if (refused == STARTING).any():
        return Unplaced(shown, "busy", hidden)
    # A silent host may have what all others lack: that is not known before it was heard or is lost.
    if passing_but(judged, UNSEEN, STARTING).any():
        return Unplaced(shown, "unseen", hidden)
    what, text = scarce(judged, refused)
    return Unplaced(shown, "full", hidden, what, text)


def explain(instance: InstanceView, pool: PoolView, rules: Rules = DEFAULT) -> tuple[Verdict, ...]:
    """Return what was found about every host: the candidates by rank, then the refused by id."""
    judged, refused, scores, _ = _look(instance, pool, rules, enough=len(pool))
    total = _total(scores)
    ranked = _ranked(judged, refused < 0, total)
    found = [
        Verdict(
            host_id=int(pool.ids[row]),
            host_name=pool.names[row],
            rank=rank,
            score=float(total[row]),
            reason=_why_candidate(judged, scores[:, row], row),
        )
        for rank, row in enumerate(ranked, 1)
    ]
    for row in _by_id(judged, np.flatnonzero(refused >= 0)):
        refusal = _refusal(judged, refused, row)
        found.append(Verdict(int(pool.ids[row]), refusal.host_name, 0, 0.0, refusal.reason))
    return tuple(found)


def sentences(refusals: Sequence[Refusal], hidden: int = 0) -> tuple[str, ...]:
    """Refusals as an operator reads them, the first SHOWN_REFUSALS in full; hidden: more of them."""
    shown = tuple(str(refusal) for refusal in refusals[:SHOWN_REFUSALS])
    more = len(refusals) - len(shown) + hidden
    return (*shown, f"and {more} more hosts refused") if more > 0 else shown


def _look(
    instance: InstanceView, pool: PoolView, rules: Rules, *, enough: int
) -> tuple[HostEvaluation, Ints, F64, Bools]:
    """Return all hosts judged: the filter that refuses each (-1 for none), scores, and who was looked at.

    Recorded weeks are exact and dear, so they are read for the best hosts by the daily shapes, until
    enough are admitted. A week may admit a host whose shapes say no, and the other way round.
    """
    judged = judge(instance, pool, rules)
    refused, scores = _refused(judged), _scores(judged)
    if pool.beyond is None:
        return judged, refused, scores, np.ones(len(pool), np.bool_)
    lacks_only_cpu = judged.lacks[:, CPU] & (judged.lacks.sum(axis=1) == 1)
    open_to = (refused < 0) | ((refused == NO_ROOM) & lacks_only_cpu)
    queue = _ranked(judged, open_to, _total(scores))
    done = 0
    while done < len(queue):
        rows = queue[done : done + _AT_ONCE]
        done += len(rows)
        judged = judged.with_weeks(rows)
        if (~judged.lacks[queue[:done], CPU]).sum() >= enough:
            break
    looked_at = ~open_to
    looked_at[queue[:done]] = True
    return judged, _refused(judged), _scores(judged), looked_at


def _refused(judged: HostEvaluation) -> Ints:
    """Per host the number of the first filter that refuses it, -1 for none."""
    refused = np.full(len(judged.pool), -1, np.int64)
    for number, look in reversed(list(enumerate(FILTERS))):
        refused[look.refuses(judged)] = number
    return refused


def _scores(judged: HostEvaluation) -> F64:
    """[scorers, n], each from 0 to 1."""
    return np.stack([score(judged) for _, score, _ in SCORERS])


def _total(scores: F64) -> F64:
    """Per host from 0 to 1."""
    weights = np.array([weight for _, _, weight in SCORERS])
    total: F64 = weights @ scores / weights.sum()
    return total


def _ranked(judged: HostEvaluation, which: Bools, scores: F64) -> Ints:
    rows = np.flatnonzero(which)
    # Rounded: the last bit of a sum must not decide where a shop goes.
    order = np.lexsort((judged.pool.ids[rows], -np.round(scores[rows], 6)))
    return rows[order]


def _by_id(judged: HostEvaluation, rows: Ints) -> Ints:
    return rows[np.argsort(judged.pool.ids[rows], kind="stable")]


def _refusal(judged: HostEvaluation, refused: Ints, row: int) -> Refusal:
    return Refusal(judged.pool.names[row], FILTERS[refused[row]].why(judged, row))


def _why_best(judged: HostEvaluation, row: int, count: int) -> str:
    return f"best fit of {count} with room, {judged.fullness[row].max():.0%} full with it"


def _why_candidate(judged: HostEvaluation, scores: F64, row: int) -> str:
    parts = ", ".join(
        f"{scorer[0]} {score:.2f}" for scorer, score in zip(SCORERS, scores, strict=True)
    )
    return f"has room, {judged.fullness[row].max():.0%} full with it ({parts})"
