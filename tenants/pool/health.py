"""Whether hosts answer, as the record has it: changed here only, by compare-and-set with a journal row.

Alive, unreachable, lost. What is measured is worked out in workers/reconcilers/host_health.py; what follows
for the shops of a lost host begins here: the host's epoch grows, so that whatever it still runs is refused,
and each of its tenants gets an operation that brings the shop back elsewhere.
"""

from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from tenants.activity.models import InstanceEvent
from tenants.core import transitions
from tenants.core.alarm_kinds import SHOPS_STRANDED
from tenants.errors import OperationOpenError, StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tenants.states import (
    HOST_TRANSITIONS,
    OPEN_OPERATION_STATES,
    EventKind,
    HostHealth,
    InstanceState,
    OperationState,
    TenantState,
    Verb,
)

MOST_REMOVED = 2000
# An instance that could not be brought back is not tried again at once: a copy does not appear by itself.
AGAIN_AFTER = timedelta(minutes=5)


def move(host_id: int, old: str, new: str, *, reason: str) -> bool:
    """Move a host's health; False when it is no longer `old`. To LOST also raises its epoch.

    Raises StateConflictError for a move that the table forbids.
    """
    if new not in HOST_TRANSITIONS[old]:
        raise StateConflictError(f"a host's health cannot go from {old} to {new}")
    changes: dict[str, object] = {"health": new, "health_since": Now(), "unreached_since": None}
    if new == HostHealth.LOST:
        changes["epoch"] = F("epoch") + 1
    with transaction.atomic():
        if not Host.objects.filter(pk=host_id, health=old).update(**changes):
            return False
        transitions.journal("host", host_id, old, new, reason=reason)
    return True


def note_probes(reached: Collection[int], unreached: Collection[int]) -> None:
    """Keep since when no edge reaches a host; two queries however many hosts there are."""
    if reached:
        Host.objects.filter(pk__in=reached, unreached_since__isnull=False).update(
            unreached_since=None
        )
    if unreached:
        Host.objects.filter(pk__in=unreached).update(
            unreached_since=Coalesce("unreached_since", Now())
        )


@transaction.atomic
def declare_lost(host: Host, *, by: str) -> None:
    """An operator knows what silence cannot tell: that an unreachable host will not come back soon.

    Raises StateConflictError when it is not unreachable.
    """
    if not move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason=f"declared lost by {by}"):
        raise StateConflictError(
            f"host {host.name} is not unreachable; only an unreachable host can be declared lost"
        )


def kept_on(host: Host) -> list[str]:
    """Ids of the instances that are a host's own by the record: what it may go on running."""
    rows = Placement.objects.filter(host=host, until__isnull=True)
    return list(rows.order_by("pk").values_list("instance__public_id", flat=True))


def removed_from(host: Host) -> list[str]:
    """Ids of the instances that were removed while their host could not be asked to delete their data."""
    rows = Placement.objects.filter(
        host=host, until__gt=host.health_since, instance__state=InstanceState.RETIRED
    )
    return list(rows.order_by("pk").values_list("instance__public_id", flat=True)[:MOST_REMOVED])


def waiting_for_a_place(limit: int) -> list[Placement]:
    """Open placements on lost hosts whose shops should run and that nobody brings back yet."""
    if limit <= 0:
        return []
    tried = Operation.objects.filter(instance=OuterRef("instance"), verb=Verb.RECOVER)
    busy = Operation.objects.filter(
        Q(verb__in=(Verb.REMOVE, Verb.PROVISION)) | Q(verb=Verb.RECOVER) | Q(cancel_requested=True),
        tenant=OuterRef("instance__tenant"),
        state__in=OPEN_OPERATION_STATES,
    )
    rows = (
        _on_lost_hosts()
        .filter(instance__tenant__state=TenantState.LIVE)
        .filter(~Exists(busy))
        .filter(
            ~Exists(
                tried.filter(
                    state__in=(OperationState.FAILED, OperationState.CANCELLED),
                    finished_at__gt=Now() - AGAIN_AFTER,
                    created_at__gte=OuterRef("host__health_since"),
                )
            )
        )
    )
    return list(rows.select_related("instance__tenant", "host").order_by("pk")[:limit])


def under_way() -> tuple[int, int]:
    """Return how many shops are being brought back just now, and how many of them only wait."""
    found = Operation.objects.filter(verb=Verb.RECOVER, state__in=OPEN_OPERATION_STATES).aggregate(
        all=Count("pk"), waiting=Count("pk", filter=Q(waiting_since__isnull=False))
    )
    return found["all"], found["waiting"]


def begin_recovery(placement: Placement) -> Operation | None:
    """Open the operation that brings a lost host's shop back, and record it as an event.

    None when something else has to end first: what repairs a shop gives way, a move is asked to stop.
    """
    instance = placement.instance
    try:
        with transaction.atomic():
            operations.lock_open(instance.tenant)
            opened = Operation.objects.filter(
                tenant=instance.tenant, state__in=OPEN_OPERATION_STATES
            ).first()
            if opened is not None and opened.verb == Verb.REPAIR:
                operations.supersede(instance.tenant, reason=f"host {placement.host.name} is lost")
            elif opened is not None:
                operations.cancel(opened)
                return None
            operation = operations.open_operation(instance, Verb.RECOVER)
            note(instance, EventKind.HOST_LOST, {"host": placement.host.name})
    except (OperationOpenError, StateConflictError):
        return None
    return operation


def repair_waiting(host_id: int) -> int:
    """Open repairs for shops that waited for a lost host which is back: their data is there, whole."""
    waiting = Instance.objects.filter(
        placements__host=host_id,
        placements__until__isnull=True,
        state__in=(InstanceState.FAILED, InstanceState.DATA_MISSING),
        tenant__state=TenantState.LIVE,
    )
    opened = 0
    for instance in waiting.select_related("tenant"):
        with suppress(OperationOpenError, StateConflictError):
            operations.open_operation(instance, Verb.REPAIR)
            opened += 1
    return opened


def note(instance: Instance, kind: EventKind, details: dict[str, object]) -> None:
    """Write an event that stands for itself into the instance's history."""
    InstanceEvent.objects.filter(instance=instance, kind=kind, ended_at__isnull=True).update(
        ended_at=F("last_at")
    )
    InstanceEvent.objects.create(
        tenant_id=instance.tenant_id, instance=instance, kind=kind, details=details, ended_at=Now()
    )


def stranded() -> dict[str, str]:
    """Lost hosts that shops still wait for, with how many: what an operator must look at."""
    waiting = (
        _on_lost_hosts()
        .filter(instance__state__in=(InstanceState.FAILED, InstanceState.DATA_MISSING))
        .values("host__name")
        .annotate(count=Count("pk"))
    )
    return {
        SHOPS_STRANDED.key(row["host__name"]): (
            f"{row['count']} shops wait for lost host {row['host__name']}, because there is no copy of "
            "their data or no room for them"
        )
        for row in waiting
    }


def _on_lost_hosts() -> QuerySet[Placement]:
    return Placement.objects.filter(until__isnull=True, host__health=HostHealth.LOST)
