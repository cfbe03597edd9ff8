"""Rebalancing in the record: whether and how far it may go, what was proposed, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.errors import FieldError, TenantsError
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tenants.transfers import moves
from tenants.transfers.models import RebalancePlan, RebalanceSetting

MOST_MOVES = 200
KEPT_PLANS = 200


@dataclass(frozen=True, slots=True)
class Proposed:
    """One move of a plan: public id of the instance, hosts by primary key, why, and what it gains."""

    instance: str
    source: int
    target: int
    reason: str
    gain: float


def setting() -> RebalanceSetting:
    """Return what operators allow; to propose moves until somebody says otherwise."""
    return RebalanceSetting.objects.filter(pk=1).first() or RebalanceSetting(pk=1)


def change_setting(*, mode: str, budget: int, changed_by: str) -> None:
    """Set the mode (a RebalanceSetting.Mode) and the most moves of a round. Raises FieldError."""
    if mode not in RebalanceSetting.Mode.values:
        raise FieldError(
            f"{mode[:20]!r} is not a mode; known are {', '.join(RebalanceSetting.Mode.values)}",
            field="mode",
        )
    if not 1 <= budget <= MOST_MOVES:
        raise FieldError(f"budget is {budget}; it must be 1 to {MOST_MOVES}", field="budget")
    RebalanceSetting.objects.update_or_create(
        pk=1,
        defaults={
            "mode": mode,
            "budget": budget,
            "changed_by": changed_by[:254],
            "changed_at": Now(),
        },
    )


def store(
    proposed: Sequence[Proposed], *, mode: str, note: str, hosts: int, hot_hosts: int, took_ms: int
) -> RebalancePlan:
    """Keep what was planned; the newest plan when it proposes just that already."""
    rows = _rows(proposed)
    newest = RebalancePlan.objects.first()
    if newest is not None and newest.note == note[:300] and _same(newest.moves, rows):
        RebalancePlan.objects.filter(pk=newest.pk).update(at=Now(), took_ms=took_ms, mode=mode)
        return newest
    plan = RebalancePlan.objects.create(
        mode=mode,
        note=note[:300],
        hosts=hosts,
        hot_hosts=hot_hosts,
        took_ms=took_ms,
        moves=rows,
    )
    kept = RebalancePlan.objects.values_list("pk", flat=True)[:KEPT_PLANS]
    RebalancePlan.objects.filter(pk__lt=min(kept)).delete()
    return plan


@transaction.atomic
def carry_out(plan: RebalancePlan, *, requested_by: Member | None = None) -> int:
    """Ask for the plan's moves that were not asked for yet, until no more are allowed at once.

    What became of each is written into the plan; how many were asked for now. The plan is locked and
    read again: an operator's click and a round at the same moment each see what the other has asked for.
    """
    current = RebalancePlan.objects.select_for_update().filter(pk=plan.pk).first()
    if current is None:  # older than what is kept
        return 0
    plan.moves = current.moves
    waiting = [row for row in plan.moves if not row["outcome"]]
    instances = {
        instance.public_id: instance
        for instance in Instance.objects.filter(
            public_id__in=[row["instance"] for row in waiting]
        ).select_related("tenant")
    }
    hosts = {
        host.name: host for host in Host.objects.filter(name__in={r["target"] for r in waiting})
    }
    asked = 0
    for row in waiting[: max(0, moves.free_slots())]:
        instance, target = instances.get(row["instance"]), hosts.get(row["target"])
        if instance is None or target is None:
            row["outcome"] = "gone"
            continue
        try:
            operation = moves.request(
                instance, to_host=target, reason="rebalance", requested_by=requested_by
            )
        except TenantsError as error:
            row["outcome"] = f"refused: {error.message}"[:200]
            continue
        row["outcome"] = operation.public_id
        asked += 1
    RebalancePlan.objects.filter(pk=plan.pk).update(moves=plan.moves)
    return asked


def _rows(proposed: Sequence[Proposed]) -> list[dict[str, object]]:
    names = dict(
        Host.objects.filter(
            pk__in={pk for move in proposed for pk in (move.source, move.target)}
        ).values_list("pk", "name")
    )
    slugs = dict(
        Instance.objects.filter(public_id__in=[move.instance for move in proposed]).values_list(
            "public_id", "tenant__slug"
        )
    )
    return [
        {
            "instance": move.instance,
            "tenant": slugs.get(move.instance, ""),
            "source": names.get(move.source, ""),
            "target": names.get(move.target, ""),
            "reason": move.reason,
            "gain": move.gain,
            "outcome": "",
        }
        for move in proposed
    ]


def _same(old: Sequence[dict[str, object]], new: Sequence[dict[str, object]]) -> bool:
    """Return whether these are the same moves, with none of them asked for yet."""

    def told(rows: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
        return [(row["instance"], row["source"], row["target"], row["outcome"]) for row in rows]

    return told(old) == told(new)
