"""Placing one instance: refuse, score, order; ties break by id, so the answer is repeatable."""

from collections.abc import Sequence

from workers.scheduler.filters import FILTERS
from workers.scheduler.scorers import SCORERS
from workers.scheduler.values import (
    Decision,
    HostView,
    InstanceView,
    Placed,
    Refusal,
    Unplaced,
)

# A decision is read by a person: past this many refusals the rest are only counted.
SHOWN_REFUSALS = 20


def place(instance: InstanceView, hosts: Sequence[HostView]) -> Decision:
    """The hosts that can take the instance, best first, with reasons; or why none can."""
    refusals: list[Refusal] = []
    ranked: list[tuple[float, int, str]] = []
    for host in hosts:
        reason = _refusal(host, instance)
        if reason is None:
            ranked.append((-_score(host, instance), host.id, host.name))
        else:
            refusals.append(Refusal(host.name, reason))
    if not ranked:
        return Unplaced(tuple(refusals), is_unseen=not any(host.is_seen for host in hosts))
    ranked.sort()
    score, _, name = ranked[0]
    best = f"{name}: best fit of {len(ranked)} with room, {-score:.0%} full with it"
    return Placed(
        candidates=tuple(host_id for _, host_id, _ in ranked),
        reasons=(best, *sentences(refusals)),
    )


def sentences(refusals: Sequence[Refusal]) -> tuple[str, ...]:
    """Refusals as an operator reads them, the first SHOWN_REFUSALS in full."""
    shown = tuple(str(refusal) for refusal in refusals[:SHOWN_REFUSALS])
    more = len(refusals) - len(shown)
    return (*shown, f"and {more} more hosts refused") if more > 0 else shown


def _refusal(host: HostView, instance: InstanceView) -> str | None:
    for refuse in FILTERS:
        reason = refuse(host, instance)
        if reason is not None:
            return reason
    return None


def _score(host: HostView, instance: InstanceView) -> float:
    return sum(weight * score(host, instance) for score, weight in SCORERS)
