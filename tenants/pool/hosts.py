"""What an operator does to a host: keep new shops away, describe it, take it out, forget a lost one."""

import re
from collections.abc import Mapping
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce, Now

from tenants.core import dispatch
from tenants.core.transitions import journal
from tenants.errors import FieldError, StateConflictError
from tenants.placement.models import Placement
from tenants.pool import drains, health, registration
from tenants.pool.models import Drain, Host, HostReport
from tenants.pool.registration import MachineResources
from tenants.states import DrainState, HostHealth, HostState

MIB = 1024 * 1024
MOST_LABELS = 32
# A host that reported within this time is there: it is drained and removed, not forgotten.
HEARD_WITHIN = timedelta(seconds=15)

_WORD = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]?([A-Za-z0-9._ /-]{0,61}[A-Za-z0-9])?")
_ENGINES = ("crun",)


def cordon(host: Host, *, by: str) -> None:
    """Place no new shops there; what runs goes on. No-op if it is cordoned already."""
    _set_state(host, {HostState.OPEN}, HostState.CORDONED, by=by)


def uncordon(host: Host, *, by: str) -> None:
    """Place shops there again. No-op if it is open already. Raises StateConflictError while it drains."""
    _set_state(host, {HostState.CORDONED}, HostState.OPEN, by=by)


@transaction.atomic
def edit(
    host: Host,
    *,
    zone: str | None = None,
    engine: str | None = None,
    labels: Mapping[str, str] | None = None,
    reserve: MachineResources | None = None,
) -> None:
    """Change what is not None. labels replaces all labels. Raises FieldError."""
    wanted: dict[str, object] = {}
    if zone is not None:
        wanted["zone"] = check_zone(zone)
    if engine is not None:
        if engine not in _ENGINES:
            raise FieldError(
                f"engine is {engine[:40]!r}; it must be one of {', '.join(_ENGINES)}",
                field="engine",
            )
        wanted["engine"] = engine
    if labels is not None:
        wanted["labels"] = check_labels(labels)
    if reserve is not None:
        capacity = MachineResources(
            host.capacity_cpu_millis, host.capacity_memory_bytes, host.capacity_disk_bytes
        )
        registration.check_room(capacity, reserve)
        wanted["reserve_cpu_millis"] = reserve.cpu_millis
        wanted["reserve_memory_bytes"] = reserve.memory_bytes
        wanted["reserve_disk_bytes"] = reserve.disk_bytes
    if wanted:
        Host.objects.filter(pk=host.pk).update(**wanted)
        host.refresh_from_db()


@transaction.atomic
def remove(host: Host, *, by: str) -> None:
    """Take an empty host out of the pool; its credentials end with it.

    Raises StateConflictError, with the numbers, while it holds anything.
    """
    _lock(host)
    if held := holdings(host):
        raise StateConflictError(f"{host.name} holds {held}; drain it first")
    _out(host, reason=f"removed by {by}")


def declare_lost(host: Host, *, confirm: str, by: str) -> None:
    """Bring an unreachable host's shops back elsewhere now, from their last snapshots, without waiting.

    confirm: its name, typed. Should it come back, what it still runs is stopped before anything else.
    Raises FieldError, or StateConflictError when it is not unreachable.
    """
    _check_confirmed(host, confirm)
    health.declare_lost(host, by=by)


@transaction.atomic
def forget(host: Host, *, confirm: str, by: str) -> None:
    """Take a host out that will not come back, whatever it held; its credentials end at once.

    confirm: its name, typed. What it ran is fenced off should it ever return (epoch + 1). Shops it held
    must have been taken over by others first: their volumes on it are out of reach for good.
    Raises FieldError, or StateConflictError while it still reports or still holds shops.
    """
    _check_confirmed(host, confirm)
    _lock(host)
    heard = HostReport.objects.filter(host=host, seen_at__gt=Now() - HEARD_WITHIN)
    if heard.exists():
        raise StateConflictError(
            f"{host.name} reported within the last {HEARD_WITHIN.seconds} s: it is not lost; "
            "drain it and remove it"
        )
    if held := holdings(host):
        raise StateConflictError(
            f"{host.name} still holds {held} in the record; {_what_then(host)}"
        )
    _out(host, reason=f"forgotten by {by}")


def _what_then(host: Host) -> str:
    if host.health == HostHealth.LOST:
        return (
            "they are coming back elsewhere from their last snapshots; those of which there is none wait"
            " for the host, and have to be removed before it is given up"
        )
    return "declare it lost first: they come back elsewhere from their last snapshots"


def holdings(host: Host) -> str:
    """Return what the host holds, as a phrase with numbers; "" for nothing. Two looks at indexes."""
    found = Placement.objects.filter(host=host, until__isnull=True).aggregate(
        shops=Count("pk"),
        memory=Coalesce(Sum("memory_bytes"), 0),
        disk=Coalesce(Sum("disk_bytes"), 0),
    )
    if not found["shops"]:
        return "parts of shops that are on their way" if drains.has_moves_at(host) else ""
    shops = "1 shop" if found["shops"] == 1 else f"{found['shops']} shops"
    return (
        f"{shops} with {found['memory'] // MIB} MiB of memory"
        f" and {found['disk'] // MIB} MiB of disk booked"
    )


def check_zone(zone: str) -> str:
    """Return the zone, when it can be one; FieldError."""
    if not _WORD.fullmatch(zone):
        raise FieldError(
            f"zone is {zone[:40]!r}; it must be 1 to 32 of a-z, 0-9 and -", field="zone"
        )
    return zone


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels, when they can be some; FieldError."""
    if len(labels) > MOST_LABELS:
        raise FieldError(f"labels: at most {MOST_LABELS}, not {len(labels)}", field="labels")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise FieldError(
                f"label {key[:70]!r} must be 1 to 63 of a-z, 0-9 and ._/-", field="labels"
            )
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            raise FieldError(
                f"label {key} is {str(value)[:70]!r}; it must be at most 63 letters, digits and ._ /-",
                field="labels",
            )
    return dict(sorted(labels.items()))


def _set_state(host: Host, old: set[HostState], new: HostState, *, by: str) -> None:
    if host.state == new:
        return
    verb = "cordoned" if new == HostState.CORDONED else "opened"
    with transaction.atomic():
        if host.state not in old or not Host.objects.filter(pk=host.pk, state=host.state).update(
            state=new
        ):
            raise StateConflictError(f"{host.name} is {host.state}; it cannot be {verb} now")
        journal("host", host.pk, host.state, new, reason=f"{verb} by {by}")
    host.state = new


def _check_confirmed(host: Host, confirm: str) -> None:
    if confirm != host.name:
        raise FieldError(
            f"type the host's name to confirm: {host.name}, not {confirm[:40]!r}", field="confirm"
        )


def _lock(host: Host) -> None:
    # A placement reserves by an UPDATE of this row: while we hold it nothing new comes.
    if not Host.objects.select_for_update().filter(pk=host.pk).exists():
        raise StateConflictError(f"{host.name} is no longer in the pool")


def _out(host: Host, *, reason: str) -> None:
    Host.ever.filter(pk=host.pk).update(
        state=HostState.REMOVED,
        epoch=F("epoch") + 1,
        broker_secret_sha256="",
        token_sha256="",
        machine_sha256="",
    )
    HostReport.objects.filter(host=host).delete()
    Drain.objects.filter(host=host, state=DrainState.RUNNING).update(
        state=DrainState.DONE, ended_at=Now()
    )
    host.quarantined_ports.all().delete()
    journal("host", host.pk, host.state, HostState.REMOVED, reason=reason)
    dispatch.apply_broker_users()
    host.refresh_from_db()
