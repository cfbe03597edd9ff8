"""Compares what hosts hold with what the record says, carefully.

A missing instance is repaired by opening an operation like any other. An instance that is not in the
database is stopped; its volume is kept, because only a recorded removal deletes data. A tenant that is
being worked on is left alone, also one that was since the host began to collect its report. When too many
instances are not in the database, none is stopped: then the database is more likely to be wrong than the
host.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Count, Exists, Max, OuterRef, Q
from django.db.models.functions import Now

from runtime.driver import Driver
from runtime.errors import RuntimeCoreError
from runtime.specs import Fence, VolumeFate
from runtime.statuses import ContainerState
from tenants.core import alarm_kinds, alarms, freezes
from tenants.core.alarm_kinds import AlarmKind
from tenants.core.models import FreezeSwitch
from tenants.errors import TenantsError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import restored_record
from tenants.pool.models import Host, HostReport
from tenants.shops.models import Instance
from tenants.states import (
    OPEN_OPERATION_STATES,
    EventKind,
    HostHealth,
    InstanceState,
    TenantState,
    Verb,
)
from tenants.transfers.models import Move
from workers.flows import clients
from workers.leases.periodic import once
from workers.pool import mapping

LEAST_TO_STOP = 5
SHARE_TO_STOP = 0.05
MOST_REPAIRS = 50  # per host and round; a rebooted host's shops come back over some rounds
PORTION = 50  # reports in memory at once
REPAIR_PAUSE = timedelta(seconds=60)  # between two repairs of one instance
# Starting a shop again that runs but does not answer: few of a host at a time, each rarer every time.
SHARE_TO_RESTART = 0.03
LONGEST_PAUSE = timedelta(hours=1)
COUNTED_FOR = timedelta(days=1)
# So many of a host at once are no trouble of theirs, but of the host or its network.
LEAST_SICK = 5
SHARE_SICK = 0.2

_NAMED = 5
_TROUBLES: dict[str, AlarmKind] = {
    EventKind.NOT_ANSWERING: alarm_kinds.NOT_ANSWERING,
    EventKind.UNPLUGGED: alarm_kinds.UNPLUGGED,
    EventKind.NO_LIMITS: alarm_kinds.NO_LIMITS,
    EventKind.DAMAGED: alarm_kinds.DAMAGED,
    EventKind.CANNOT_END: alarm_kinds.CANNOT_END,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReportedInstance:
    """One instance in a host's report, as far as it matters here."""

    instance_id: str
    state: str
    fence: Fence
    wants_start: bool = False
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconcilePlan:
    """What one host needs. sick: what runs, and only a start would mend.

    newer: what is kept because the record, which was restored, is older than it.
    alarm: why nothing is stopped although something should be, or ""; sick_alarm: the same of starts.
    """

    missing: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    unowned: tuple[ReportedInstance, ...] = ()
    sick: tuple[str, ...] = ()
    alarm: str = ""
    sick_alarm: str = ""


def plan(
    found: Iterable[ReportedInstance],
    *,
    owned: set[str],
    expected: set[str],
    failed: Collection[str] = (),
) -> ReconcilePlan:
    """Compare a host's inventory with the record; pure, so that every rule of it is tested.

    owned: ids that the record places there, or that somebody is working on: never stopped.
    expected: ids that should be running there by now and that nobody is working on.
    failed: those of them that the record says do not run as they should. One that runs all the same was
    left so by an operation that failed: its visitors may be led nowhere, which a repair looks at.
    """
    held = {instance.instance_id: instance for instance in found}
    well = {
        pk
        for pk, instance in held.items()
        if instance.state in (ContainerState.RUNNING, ContainerState.STARTING)
    }
    unowned = tuple(instance for pk, instance in sorted(held.items()) if pk not in owned)
    missing = tuple(sorted(expected - well))
    sick = tuple(sorted(pk for pk in well & owned if held[pk].wants_start))
    sick_alarm = ""
    if len(sick) > max(LEAST_SICK, int(len(held) * SHARE_SICK)):
        sick_alarm = (
            f"{len(sick)} of {len(held)} instances do not answer or are in trouble. So many are not"
            " started again at once. Check the host and its network"
        )
    most = max(LEAST_TO_STOP, int(len(held) * SHARE_TO_STOP))
    alarm = ""
    if len(unowned) > most:
        alarm = (
            f"{len(unowned)} of {len(held)} instances are not in the database. Not stopping more than"
            f" {most} at once. Was the database restored from an old backup?"
        )
    doubted = (well & set(failed)) | (set() if sick_alarm else set(sick))
    return ReconcilePlan(
        missing=missing,
        unowned=() if alarm else unowned,
        sick=tuple(sorted(doubted & expected)),
        alarm=alarm,
        sick_alarm=sick_alarm,
    )


@once("reconcile")
def reconcile() -> str:
    """Do one round over every host that was heard just now."""
    return carry_out(clients.real().driver_for)


def carry_out(driver_for: Callable[[Host], Driver]) -> str:
    """Compare hosts with the database, open repairs, stop instances that are not in it; return a summary."""
    if freezes.is_on(FreezeSwitch.Name.RECONCILE):
        return "frozen by an operator"
    repairs = stops = 0
    true_now: dict[str, str] = {}
    troubles: dict[str, str] = {}
    # A host that comes back is adopted first (host_health.py), which stops what is not its own.
    for report in _heard():
        name = report.host.name
        found = [instance for instance in map(_found, report.inventory) if instance is not None]
        todo = _plan_for(report, found)
        stopped, left = _stop(driver_for, report.host, todo.unowned)
        stops += stopped
        said = {
            alarm_kinds.UNOWNED: todo.alarm,
            alarm_kinds.MANY_SICK: todo.sick_alarm,
            alarm_kinds.UNOWNED_NEWER: _kept(todo),
            alarm_kinds.UNOWNED_LEFT: left,
        }
        true_now |= {
            kind.key(name): f"host {name}: {alarm}" for kind, alarm in said.items() if alarm
        }
        troubles |= _troubles(name, found)
        repairs += _repair(
            (*todo.missing, *_restarts(report.host, todo.sick, len(found)))[:MOST_REPAIRS]
        )
    alarms.keep("reconcile", true_now)
    alarms.keep("trouble", troubles)
    return f"{repairs} repairs opened, {stops} stopped" if repairs or stops else ""


def _heard() -> Iterator[HostReport]:
    """Yield the reports of hosts that were heard just now, a portion at a time: an inventory may be large."""
    heard = HostReport.objects.filter(
        seen_at__gt=Now() - mapping.FRESH, host__health=HostHealth.ALIVE
    )
    pks = list(heard.values_list("pk", flat=True))
    for first in range(0, len(pks), PORTION):
        rows = HostReport.objects.filter(pk__in=pks[first : first + PORTION])
        yield from rows.select_related("host").defer("host__load")


def _troubles(host: str, found: Iterable[ReportedInstance]) -> dict[str, str]:
    """Return one alarm for each kind of trouble a host has with its instances, naming the first of them."""
    by_kind: dict[str, list[str]] = {}
    for instance in found:
        for kind in _TROUBLES.keys() & set(instance.troubles):
            by_kind.setdefault(kind, []).append(instance.instance_id)
    return {
        _TROUBLES[kind].key(host): f"host {host}: {EventKind(kind).label}: {len(ids)} "
        f"({', '.join(sorted(ids)[:5])}{', …' if len(ids) > 5 else ''})"
        for kind, ids in by_kind.items()
    }


def _restarts(host: Host, sick: tuple[str, ...], held: int) -> tuple[str, ...]:
    """Of those that run and need a start, whose turn it is; two queries, where there are any at all."""
    if not sick:
        return ()
    going = Operation.objects.filter(
        verb=Verb.REPAIR,
        state__in=OPEN_OPERATION_STATES,
        instance__placements__host=host,
        instance__placements__until__isnull=True,
    ).count()
    room = max(1, int(held * SHARE_TO_RESTART)) - going
    if room <= 0:
        return ()
    before = Operation.objects.filter(
        instance__public_id__in=sick,
        verb=Verb.REPAIR,
        finished_at__gt=Now() - COUNTED_FOR,
    )
    counted = before.values("instance__public_id").annotate(
        times=Count("pk"), age=Now() - Max("finished_at")
    )
    waiting = {
        row["instance__public_id"]
        for row in counted
        if row["age"] < min(REPAIR_PAUSE * 2 ** min(row["times"] - 1, 10), LONGEST_PAUSE)
    }
    return tuple(pk for pk in sick if pk not in waiting)[:room]


def _plan_for(report: HostReport, found: list[ReportedInstance]) -> ReconcilePlan:
    rows = Placement.objects.filter(host=report.host, until__isnull=True).values_list(
        "instance__public_id", "instance__pk"
    )
    owned = {public_id for public_id, _ in rows}
    strangers = {instance.instance_id for instance in found} - owned
    owned |= set(_worked_on_or_newer(strangers, report.collected_at))
    newer = _from_before_a_restore(
        report.host, [instance for instance in found if instance.instance_id in strangers]
    )
    states = dict(_expected(report))
    failed = [pk for pk, state in states.items() if state == InstanceState.FAILED]
    made = plan(found, owned=owned | newer, expected=set(states), failed=failed)
    return replace(made, newer=tuple(sorted(newer)))


def _found(entry: object) -> ReportedInstance | None:
    try:
        troubles = entry.get("troubles") or ()  # type: ignore[attr-defined]
        return ReportedInstance(
            instance_id=str(entry["instance_id"]),  # type: ignore[index]
            state=str(entry["state"]),  # type: ignore[index]
            fence=Fence(int(entry["fence"]["epoch"]), int(entry["fence"]["number"])),  # type: ignore[index]
            wants_start=any(trouble["wants_start"] is True for trouble in troubles),
            troubles=tuple(EventKind(trouble["kind"]) for trouble in troubles),
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _expected(report: HostReport) -> Iterable[tuple[str, str]]:
    """Ids, each with its state, that should have been running when the report was begun, that nobody has
    worked on since then nor has just repaired.
    """
    recent = Operation.objects.filter(instance=OuterRef("pk")).filter(
        _worked_on_since(report.collected_at)
        | Q(verb=Verb.REPAIR, finished_at__gt=Now() - REPAIR_PAUSE)
    )
    return (
        Instance.objects.filter(
            placements__host=report.host,
            placements__until__isnull=True,
            # After a move the instance has been running for longer than it has been here.
            placements__since__lt=report.collected_at,
            tenant__state=TenantState.LIVE,
            state__in=(InstanceState.RUNNING, InstanceState.FAILED),
            state_since__lt=report.collected_at,
        )
        .exclude(Exists(recent))
        .values_list("public_id", "state")
    )


def _worked_on_since(moment: datetime) -> Q:
    """Operations that are open, or ended at that moment or later."""
    return Q(state__in=OPEN_OPERATION_STATES) | Q(finished_at__gte=moment)


def _worked_on_or_newer(instance_ids: set[str], collected_at: datetime) -> Iterable[str]:
    """Of ids without a place on this host, those that are not to be judged by this report."""
    if not instance_ids:
        return ()
    recent = Operation.objects.filter(_worked_on_since(collected_at), instance=OuterRef("pk"))
    # What a move left there is cleared with its volume (workers/reconcilers/drains.py), which a stop would
    # forget.
    left = Move.objects.filter(instance=OuterRef("pk"), ended_at__isnull=True)
    return (
        Instance.objects.filter(public_id__in=instance_ids)
        .annotate(left_at=Max("placements__until"))
        .filter(
            Exists(recent)
            | Exists(left)
            | Q(state_since__gte=collected_at)
            | Q(left_at__gte=collected_at)
        )
        .values_list("public_id", flat=True)
    )


def _kept(todo: ReconcilePlan) -> str:
    """Return the alarm about what is kept although no record knows it, or ""."""
    if not todo.newer:
        return ""
    return (
        f"{len(todo.newer)} instances there are from before the record was restored, which does not know "
        f"them; they are kept: {', '.join(todo.newer[:_NAMED])}"
    )


def _from_before_a_restore(host: Host, strangers: Iterable[ReportedInstance]) -> set[str]:
    """Ids that the record has never known, from a life of the host that only a restore lies behind."""
    old = {
        stranger.instance_id
        for stranger in strangers
        if host.epoch - stranger.fence.epoch >= restored_record.EPOCHS
    }
    if not old:
        return set()
    known = Instance.objects.filter(public_id__in=old).values_list("public_id", flat=True)
    return old - set(known)


def _repair(instance_ids: Iterable[str]) -> int:
    opened = 0
    for instance in Instance.objects.filter(public_id__in=list(instance_ids)):
        try:
            operations.open_operation(instance, Verb.REPAIR)
        except TenantsError as error:
            log.info("no repair for %s: %s", instance.public_id, error)
        else:
            opened += 1
    return opened


def _stop(
    driver_for: Callable[[Host], Driver], host: Host, unowned: Iterable[ReportedInstance]
) -> tuple[int, str]:
    """Return how many were stopped; the alarm about those that were not, or ""."""
    stopped = 0
    left: list[str] = []
    for instance in unowned:
        try:
            # With the fence that the host reported, or its present life's: a later claim of the instance
            # is stronger.
            fence = max(instance.fence, Fence(host.epoch, 0))
            driver_for(host).ensure_absent(
                instance.instance_id, fence=fence, volume=VolumeFate.KEEP
            )
        except RuntimeCoreError as error:
            log.warning(
                "%s on %s was not stopped: %s", instance.instance_id, host.name, error.message
            )
            left.append(f"{instance.instance_id}: {error.message[:100]}")
        else:
            log.warning(
                "%s on %s is not in the database and was stopped", instance.instance_id, host.name
            )
            stopped += 1
    if not left:
        return stopped, ""
    named = f"{'; '.join(left[:_NAMED])}{'; …' if len(left) > _NAMED else ''}"
    return (
        stopped,
        f"{len(left)} instances are not in the database and could not be stopped: {named}",
    )
