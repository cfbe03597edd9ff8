"""Compares what hosts hold with what the record says, carefully.

What should run and does not is repaired, by opening an operation like any other. What runs and is
nobody's is stopped, its volume kept: only a removal in the record deletes data. Nothing is done about
a tenant that is being worked on, or on a report older than the row, or where so much is nobody's that
the record is more likely to be wrong than the host.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Exists, Max, OuterRef, Q
from django.db.models.functions import Now

from runtime.driver import ContainerState, Driver, Fence, VolumeFate
from runtime.errors import RuntimeCoreError
from tenants.errors import TenantsError
from tenants.models import FreezeSwitch, Host, HostReport, Instance, Operation, Placement
from tenants.services import alarms, freezes, operations, restored
from tenants.states import OPEN_OPERATION_STATES, HostHealth, InstanceState, TenantState, Verb
from workers import fleet
from workers.flows import hands
from workers.periodic import once

LEAST_TO_STOP = 5
SHARE_TO_STOP = 0.05
MOST_REPAIRS = 50  # per host and round; a rebooted host's shops come back over some rounds
REPAIR_PAUSE = timedelta(seconds=60)  # between two repairs of one instance

_NAMED = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """One instance in a host's report, as far as it matters here."""

    instance_id: str
    state: str
    fence: Fence


@dataclass(frozen=True, slots=True)
class Plan:
    """What one host needs. alarm: why nothing is stopped although something should be, or "".

    newer: what is kept because the record, which was restored, is older than it.
    """

    missing: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    unowned: tuple[Found, ...] = ()
    alarm: str = ""


def plan(found: Iterable[Found], *, owned: set[str], expected: set[str]) -> Plan:
    """Compare a host's inventory with the record; pure, so that every rule of it is tested.

    owned: ids that the record places there, or that somebody is working on: never stopped.
    expected: ids that should be running there by now and that nobody is working on.
    """
    held = {one.instance_id: one for one in found}
    well = {
        pk
        for pk, one in held.items()
        if one.state in (ContainerState.RUNNING, ContainerState.STARTING)
    }
    unowned = tuple(one for pk, one in sorted(held.items()) if pk not in owned)
    missing = tuple(sorted(expected - well))
    most = max(LEAST_TO_STOP, int(len(held) * SHARE_TO_STOP))
    if len(unowned) > most:
        return Plan(
            missing=missing,
            alarm=f"{len(unowned)} of {len(held)} instances there are nobody's by the record; "
            f"more than {most} are not stopped at once: is the record older than the host?",
        )
    return Plan(missing=missing, unowned=unowned)


@once("reconcile")
def reconcile() -> str:
    """One round over every host that was heard just now."""
    return carry_out(hands.real().driver_for)


def carry_out(driver_for: Callable[[Host], Driver]) -> str:
    """Compare, open repairs, stop what is nobody's; tells what was done."""
    if freezes.is_on(FreezeSwitch.Name.RECONCILE):
        return "frozen by an operator"
    repairs = stops = 0
    true_now: dict[str, str] = {}
    # A host that comes back is adopted first (health.py), which stops what is not its own.
    heard = HostReport.objects.filter(
        seen_at__gt=Now() - fleet.FRESH, host__health=HostHealth.ALIVE
    )
    for report in heard.select_related("host"):
        todo = _plan_for(report)
        if todo.alarm:
            true_now[f"reconcile.{report.host.name}"] = f"host {report.host.name}: {todo.alarm}"
        if todo.newer:
            true_now[f"reconcile.{report.host.name}.newer"] = (
                f"host {report.host.name} runs {len(todo.newer)} instances from before the record was "
                f"restored that it does not know; they are kept: {', '.join(todo.newer[:_NAMED])}"
            )
        repairs += _repair(todo.missing[:MOST_REPAIRS])
        stops += _stop(driver_for, report.host, todo.unowned)
    alarms.keep("reconcile", true_now)
    return f"{repairs} repairs opened, {stops} stopped" if repairs or stops else ""


def _plan_for(report: HostReport) -> Plan:
    found = [one for one in map(_found, report.inventory) if one is not None]
    rows = Placement.objects.filter(host=report.host, until__isnull=True).values_list(
        "instance__public_id", "instance__pk"
    )
    owned = {public_id for public_id, _ in rows}
    strangers = {one.instance_id for one in found} - owned
    owned |= set(_worked_on_or_newer(strangers, report.seen_at))
    newer = _from_before_a_restore(
        report.host, [one for one in found if one.instance_id in strangers]
    )
    made = plan(found, owned=owned | newer, expected=set(_expected(report)))
    return replace(made, newer=tuple(sorted(newer)))


def _found(entry: object) -> Found | None:
    try:
        return Found(
            instance_id=str(entry["instance_id"]),  # type: ignore[index]
            state=str(entry["state"]),  # type: ignore[index]
            fence=Fence(int(entry["fence"]["epoch"]), int(entry["fence"]["number"])),  # type: ignore[index]
        )
    except (TypeError, KeyError, ValueError):
        return None


def _expected(report: HostReport) -> Iterable[str]:
    """Ids that should be running by the time of the report, that nobody works on or has just repaired."""
    recent = Operation.objects.filter(instance=OuterRef("pk")).filter(
        Q(state__in=OPEN_OPERATION_STATES)
        | Q(verb=Verb.REPAIR, finished_at__gt=Now() - REPAIR_PAUSE)
    )
    return (
        Instance.objects.filter(
            placements__host=report.host,
            placements__until__isnull=True,
            # After a move the instance has been running for longer than it has been here.
            placements__since__lt=report.seen_at,
            tenant__state=TenantState.LIVE,
            state__in=(InstanceState.RUNNING, InstanceState.FAILED),
            state_since__lt=report.seen_at,
        )
        .exclude(Exists(recent))
        .values_list("public_id", flat=True)
    )


def _worked_on_or_newer(instance_ids: set[str], seen_at: datetime) -> Iterable[str]:
    """Of ids without a place on this host, those that are not to be judged by this report."""
    if not instance_ids:
        return ()
    opened = Operation.objects.filter(instance=OuterRef("pk"), state__in=OPEN_OPERATION_STATES)
    return (
        Instance.objects.filter(public_id__in=instance_ids)
        .annotate(left_at=Max("placements__until"))
        .filter(Exists(opened) | Q(state_since__gte=seen_at) | Q(left_at__gte=seen_at))
        .values_list("public_id", flat=True)
    )


def _from_before_a_restore(host: Host, strangers: Iterable[Found]) -> set[str]:
    """Ids that the record has never known, from a life of the host that only a restore lies behind."""
    old = {one.instance_id for one in strangers if host.epoch - one.fence.epoch >= restored.EPOCHS}
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


def _stop(driver_for: Callable[[Host], Driver], host: Host, unowned: Iterable[Found]) -> int:
    stopped = 0
    for one in unowned:
        try:
            # With the fence the host told, or its present life's: whoever has claimed the instance since
            # then is stronger.
            fence = max(one.fence, Fence(host.epoch, 0))
            driver_for(host).ensure_absent(one.instance_id, fence=fence, volume=VolumeFate.KEEP)
        except RuntimeCoreError as error:
            log.warning("%s on %s was not stopped: %s", one.instance_id, host.name, error.message)
        else:
            log.warning("%s on %s was nobody's and was stopped", one.instance_id, host.name)
            stopped += 1
    return stopped
