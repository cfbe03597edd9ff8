"""Shops whose data is missing: said here, and what may be done about it asked for here.

A shop that has had data is never started without it. Its place and whatever is left there stay as they
are until the data is found again, or somebody chooses another state to go on from.
"""

from contextlib import suppress
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.core import alarm_kinds, transitions
from tenants.errors import FieldError, OperationOpenError, StateConflictError, UpdateAwaitedError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement import placements
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.shops.models import Instance, Tenant
from tenants.snapshots.models import Snapshot
from tenants.states import (
    OPEN_OPERATION_STATES,
    DataChoice,
    EventKind,
    HostHealth,
    InstanceState,
    TenantState,
    Verb,
)

WAITED = timedelta(minutes=1)
# What `begun` in the arguments of a recovery says of a shop that begins empty. TRIED: it may run already.
TRIED, DONE = "tried", "done"
_OF_DATA = (EventKind.DATA_MISSING, EventKind.DATA_BACK, EventKind.RECOVERED)


def say(instance: Instance, *, reason: str) -> None:
    """Write down that the instance's data is missing; no-op if that is known."""
    if instance.state == InstanceState.DATA_MISSING:
        return
    transitions.move(instance, InstanceState.DATA_MISSING, reason=reason)
    # Whoever tried and found it still missing says nothing new.
    if not is_told(instance):
        health.note(instance, EventKind.DATA_MISSING, {"reason": reason[:300]})


def say_of_copy(placement: Placement, *, reason: str) -> None:
    """Do as `say`, when a copy did not find the data at the place; no-op if that is another operation's to
    say, or the shop is elsewhere by now.
    """
    opened = Operation.objects.filter(
        tenant=OuterRef("instance__tenant"), state__in=OPEN_OPERATION_STATES
    )
    found = (
        Placement.objects.filter(
            pk=placement.pk,
            until__isnull=True,
            instance__state__in=(InstanceState.RUNNING, InstanceState.FAILED),
        )
        .exclude(Exists(opened))
        .select_related("instance")
        .first()
    )
    if found is not None:
        with suppress(StateConflictError), transaction.atomic():
            say(found.instance, reason=reason)


def say_back(instance: Instance) -> None:
    """Write down that a shop whose data was missing runs with it again; no-op if it was not missing."""
    if is_told(instance):
        health.note(instance, EventKind.DATA_BACK, {})


def is_told(instance: Instance) -> bool:
    """Return whether the last event about the instance's data says that it is missing."""
    last = (
        instance.events.filter(kind__in=_OF_DATA)
        .order_by("-pk")
        .values_list("kind", flat=True)
        .first()
    )
    return bool(last == EventKind.DATA_MISSING)


@transaction.atomic
def choose(
    tenant: Tenant,
    choice: str,
    *,
    snapshot: Snapshot | None = None,
    typed: str = "",
    requested_by: Member | None = None,
) -> Operation:
    """Ask for what is to be done about a shop whose data is missing, or is being waited for.

    snapshot: with COPY. typed: with EMPTY, the shop's name. Raises FieldError for a choice that does
    not say enough, StateConflictError for a shop whose data is not missing, OperationOpenError while
    something else is being done to it.
    """
    if choice not in DataChoice.values:
        raise FieldError(
            f"choice is {choice[:40]!r}; it must be one of {', '.join(DataChoice.values)}",
            field="choice",
        )
    if choice == DataChoice.COPY and (snapshot is None or snapshot.tenant_id != tenant.pk):
        raise FieldError("snapshot is missing; give the id of a copy in the list", field="snapshot")
    if choice == DataChoice.EMPTY and typed not in {tenant.slug, tenant.shop_name}:
        raise FieldError(
            f"type {tenant.slug!r} to begin empty; the shop's data is given up", field="confirm"
        )
    operations.lock_open(tenant)
    instance = Instance.objects.select_related("tenant").filter(tenant=tenant).latest("pk")
    if tenant.state != TenantState.LIVE:
        raise StateConflictError(f"the shop is {tenant.state}, not live")
    _make_way(tenant, instance)
    arguments: dict[str, object] = {"choice": choice}
    if snapshot is not None and choice == DataChoice.COPY:
        arguments["chosen_at"] = snapshot.started_at.isoformat()
        arguments["snapshot"] = snapshot.public_id
    if choice == DataChoice.WAIT:
        placement = placements.open_placement(instance)
        is_lost = placement is not None and placement.host.health == HostHealth.LOST
        verb, arguments = (Verb.RECOVER if is_lost else Verb.REPAIR), {}
    else:
        verb = Verb.RECOVER
    return operations.open_operation(instance, verb, requested_by=requested_by, arguments=arguments)


def begins_empty(operation: Operation) -> bool:
    """Return whether the operation may still start the shop on an empty volume, as somebody chose."""
    return (
        operation.verb == Verb.RECOVER
        and operation.arguments.get("choice") == DataChoice.EMPTY
        and not has_begun_empty(operation)
    )


def has_begun_empty(operation: Operation) -> bool:
    """Return whether the shop was started empty by the operation: what it holds since is its data."""
    return bool(operation.arguments.get("begun") == DONE)


def _make_way(tenant: Tenant, instance: Instance) -> None:
    """End what only waits for data; refuse where the shop's data is not missing."""
    opened = Operation.objects.filter(tenant=tenant, state__in=OPEN_OPERATION_STATES).first()
    if opened is None:
        if instance.state != InstanceState.DATA_MISSING:
            raise StateConflictError("the shop's data is not missing")
        return
    # Whoever is at a try just now finds its lease gone.
    if opened.verb != Verb.RECOVER or opened.waiting_since is None:
        raise OperationOpenError("another operation on this shop is running; try again in a moment")
    operations.supersede(tenant, reason="a newer choice replaced it")


def is_chosen_from(tenant: Tenant) -> bool:
    """Return whether the shop's data is missing and nobody works on it, so that a choice is what is asked."""
    found = Instance.objects.filter(tenant=tenant, state=InstanceState.DATA_MISSING)
    return found.exclude(tenant__operations__state__in=OPEN_OPERATION_STATES).exists()


def to_be_asked_for(limit: int) -> list[Placement]:
    """Places on living hosts whose shops wait for their data and that nobody works on."""
    rows = (
        Placement.objects.filter(
            until__isnull=True,
            host__health=HostHealth.ALIVE,
            instance__state=InstanceState.DATA_MISSING,
            instance__tenant__state=TenantState.LIVE,
        )
        .exclude(instance__tenant__operations__state__in=OPEN_OPERATION_STATES)
        .select_related("host", "instance__tenant")
    )
    return list(rows.order_by("host_id", "pk")[:limit])


def repair(placement: Placement) -> bool:
    """Let the shop start with its data, which is there again. Return False when something else is
    going on.
    """
    try:
        with transaction.atomic():
            operations.open_operation(placement.instance, Verb.REPAIR)
    except (OperationOpenError, StateConflictError):
        return False
    return True


def alarms_now() -> dict[str, str]:
    """Return alarms about shops without their data, and shops that wait for a copy."""
    found = {}
    lost = Instance.objects.filter(state=InstanceState.DATA_MISSING).aggregate(
        count=Count("pk"), since=Min("state_since")
    )
    if lost["count"]:
        found[alarm_kinds.DATA_MISSING.key()] = (
            f"{lost['count']} shops are not started because their data is missing, the first since"
            f" {lost['since']:%Y-%m-%d %H:%M} UTC. Mount or bring back their volumes, or choose for"
            " each on its page or with `stoa tenants data NAME`"
        )
    waiting = Operation.objects.filter(
        Q(verb=Verb.RECOVER) | Q(error_code=UpdateAwaitedError.code),
        state__in=OPEN_OPERATION_STATES,
        waiting_since__lt=Now() - WAITED,
    )
    count, first = waiting.count(), waiting.order_by("waiting_since").first()
    if first is not None:
        found[alarm_kinds.DATA_WAITING.key()] = (
            f"{count} shops wait for their data, the first since"
            f" {first.waiting_since:%Y-%m-%d %H:%M} UTC: {first.error_message[:300]}"
        )
    return found
