"""Tells hosts that are alive from those that cannot be reached and those that are lost.

Silence alone is no loss: a host whose reports do not come may serve its shops perfectly well behind a
broken line. So the edges are asked, which carry its visitors: only a host that is silent and that no
ready edge can connect to is lost. The clock of silence runs only while hosts are heard at all, and when
many fall silent at once the fault is more likely ours: then nobody is declared lost.

What is measured is judged by pure functions; all that is kept between two rounds is in the record.
"""

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Protocol

from django.conf import settings
from django.db.models import F

from runtime.edge.probe import MOST_PLACES, ProbeTarget
from runtime.errors import RuntimeCoreError
from tenants.core import alarms, freezes
from tenants.core.alarm_kinds import HOST_AHEAD, HOST_LOST, MANY_SILENT
from tenants.core.models import FreezeSwitch, PeriodicRun
from tenants.pool import health, restored_record
from tenants.pool.models import Host
from tenants.states import HostHealth, HostState
from workers.leases import periodic
from workers.leases.periodic import once
from workers.pool import mapping
from workers.rpc import client, drivers
from workers.rpc.edge_types import EdgeSeat

UNREACHABLE_AFTER = 8.0  # agents report every 2 s, and one that is restarted is silent for 3
LOST_AFTER = 15.0
UNREACHED_FOR = 3.0  # more than one round of probes has failed
SHARE_AT_ONCE = 0.2
# As long as a round heard a host so lately, the silence of another is that other's.
HEARING = timedelta(seconds=6)
RECOVERIES_AT_ONCE = 16
MOST_RECOVERIES = 64  # those that wait for a copy, or for room, among them
_HEARING_ROW = "hearing"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostObservation:
    """One host as it is seen in a round.

    silent: seconds since its last report. unreached: seconds since when no edge reaches it, None while
    one does or none was asked. is_adopted: it knows its present epoch. is_ahead: it knows a later one.
    """

    host_id: int
    name: str
    health: str
    silent: float
    unreached: float | None = None
    is_adopted: bool = True
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class HealthDecision:
    """What a round comes to: hosts whose health changes, by id with the reason, and an alarm or ""."""

    alive: Mapping[int, str]
    unreachable: Mapping[int, str]
    lost: Mapping[int, str]
    alarm: str = ""


class HealthCalls(Protocol):
    """Whoever carries this room's calls to edges and hosts."""

    def probe(
        self, edges: Collection[EdgeSeat], places: Sequence[ProbeTarget]
    ) -> Mapping[str, set[str]]:
        """Return which hosts each ready edge could connect to; an edge that did not answer is left out."""
        ...

    def adopt(
        self, host: str, epoch: int, *, keep: Sequence[str], delete: Sequence[str]
    ) -> tuple[str, ...]:
        """Make a host stop all but `keep`, then know the epoch; what it stopped. RuntimeCoreError.

        delete: those whose data goes too.
        """
        ...


def judge(
    sights: Iterable[HostObservation], *, heard_for: float, listening_for: float = math.inf
) -> HealthDecision:
    """Return what follows from a round; pure.

    heard_for: seconds for which hosts have been heard without a gap. listening_for: seconds for which
    reports could be read without a gap; no silence counts that is older.
    """
    counted = [sight for sight in sights if sight.health != HostHealth.LOST]
    silent = [sight for sight in counted if min(sight.silent, listening_for) >= UNREACHABLE_AFTER]
    most = max(1, int(len(counted) * SHARE_AT_ONCE))
    alarm = ""
    if len(silent) > most:
        alarm = (
            f"{len(silent)} of {len(counted)} hosts do not report. Not declaring more than {most} lost at "
            "once. Check the network between the hosts and the control plane. An operator can declare "
            "single hosts lost"
        )
    lost = {
        sight.host_id: f"silent for {sight.silent:.0f} s, and no edge reaches it"
        for sight in silent
        if not alarm and _is_lost(sight, heard_for)
    }
    return HealthDecision(
        alive={sight.host_id: "it reports again" for sight in sights if _is_back(sight)},
        unreachable={
            sight.host_id: f"no report for {sight.silent:.0f} s"
            for sight in silent
            if sight.health == HostHealth.ALIVE
        },
        lost=lost,
        alarm=alarm,
    )


def _is_lost(sight: HostObservation, heard_for: float) -> bool:
    return (
        sight.health == HostHealth.UNREACHABLE
        and min(sight.silent, heard_for) >= LOST_AFTER
        and sight.unreached is not None
        and sight.unreached >= UNREACHED_FOR
    )


def _is_back(sight: HostObservation) -> bool:
    return (
        sight.health != HostHealth.ALIVE and sight.silent < UNREACHABLE_AFTER and sight.is_adopted
    )


@once("health")
def look() -> str:
    """Do one round over all hosts."""
    return carry_out(real())


@once("adopt")
def adopt() -> str:
    """Do one round over hosts that do not know their present epoch."""
    return adopt_hosts(real())


def carry_out(reach: HealthCalls) -> str:
    """Probe who is silent, change what has changed, begin to bring back what was lost."""
    sights = _sights()
    heard_for = _heard_for(any(sight.silent < HEARING.total_seconds() for sight in sights))
    sights = _probed(reach, sights)
    listening_for = periodic.unbroken_for("observe", now=periodic.database_now())
    verdict = judge(sights, heard_for=heard_for, listening_for=listening_for)
    names = {sight.host_id: sight.name for sight in sights}
    before = {sight.host_id: sight.health for sight in sights}
    for new, changed in (
        (HostHealth.ALIVE, verdict.alive),
        (HostHealth.UNREACHABLE, verdict.unreachable),
        (HostHealth.LOST, verdict.lost),
    ):
        for host_id, reason in changed.items():
            if health.move(host_id, before[host_id], new, reason=reason):
                log.warning("host %s is %s: %s", names[host_id], new, reason)
                if before[host_id] == HostHealth.LOST:
                    health.repair_waiting(host_id)
    alarms.keep("health", _alarms(verdict, sights) | health.stranded())
    begun = _begin_recoveries()
    changes = len(verdict.alive) + len(verdict.unreachable) + len(verdict.lost)
    return f"{changes} hosts changed, {begun} shops to bring back" if changes or begun else ""


def adopt_hosts(reach: HealthCalls) -> str:
    """Tell hosts that are heard and know another epoch than the record's what is still their own.

    While the record is a restored one nobody has looked at, a host keeps all it has.
    """
    adopted = 0
    is_doubted = restored_record.is_frozen()
    fresh = Host.objects.filter(
        report__epoch__lt=F("epoch"), report__seen_at__gt=periodic.database_now() - mapping.FRESH
    )
    for host in fresh.defer("load"):
        try:
            if is_doubted:
                keep, delete = restored_record.reported_by(host), []
            else:
                keep, delete = health.kept_on(host), health.removed_from(host)
            stopped = reach.adopt(host.name, host.epoch, keep=keep, delete=delete)
        except RuntimeCoreError as error:
            log.warning("host %s is not adopted yet: %s", host.name, error.message)
            continue
        adopted += 1
        if stopped:
            log.warning(
                "host %s came back; %d shops there were no longer its own", host.name, len(stopped)
            )
    return f"{adopted} hosts adopted" if adopted else ""


def _sights() -> list[HostObservation]:
    """Return every host of the pool that has ever reported; one query, without what it holds."""
    known = Host.objects.filter(report__isnull=False).exclude(state=HostState.REMOVED)
    rows = known.values_list(
        "pk", "name", "health", "epoch", "unreached_since", "report__seen_at", "report__epoch"
    )
    now = periodic.database_now()
    return [
        HostObservation(
            host_id=pk,
            name=name,
            health=health_now,
            silent=(now - seen_at).total_seconds(),
            unreached=(now - since).total_seconds() if since else None,
            is_adopted=report is None or report >= epoch,
            is_ahead=report is not None and report > epoch,
        )
        for pk, name, health_now, epoch, since, seen_at, report in rows
    ]


def _heard_for(is_heard: bool) -> float:
    """For how long hosts have been heard without a gap, this round included; 0 while none is."""
    now = periodic.database_now()
    row = PeriodicRun.objects.filter(name=_HEARING_ROW).first()
    goes_on = row is not None and row.finished_at is not None and now - row.finished_at <= HEARING
    if not is_heard:
        return 0.0
    since = row.started_at if row is not None and goes_on else now
    PeriodicRun.objects.update_or_create(
        name=_HEARING_ROW,
        defaults={"started_at": since, "finished_at": now, "note": "hosts are heard since then"},
    )
    return (now - since).total_seconds()


def _probed(reach: HealthCalls, sights: list[HostObservation]) -> list[HostObservation]:
    """Return the sights with what edges have just found of those that are silent, which is also written
    down.
    """
    silent = [
        sight
        for sight in sights
        if sight.silent >= UNREACHABLE_AFTER and sight.health != HostHealth.LOST
    ][:MOST_PLACES]
    if not silent:
        return sights
    rows = Host.objects.filter(pk__in=[sight.host_id for sight in silent])
    places = [ProbeTarget(host.name, host.address, host.probe_port) for host in rows]
    answers = reach.probe(mapping.edges(), places)
    reached = {name for found in answers.values() for name in found}
    found = {sight.host_id for sight in silent if sight.name in reached or not answers}
    health.note_probes(found, {sight.host_id for sight in silent} - found)
    now_found = {
        sight.host_id: 0.0 if sight.unreached is None else sight.unreached for sight in silent
    }
    return [
        _with_unreached(sight, None if sight.host_id in found else now_found[sight.host_id])
        if sight.host_id in now_found
        else sight
        for sight in sights
    ]


def _with_unreached(sight: HostObservation, unreached: float | None) -> HostObservation:
    return replace(sight, unreached=unreached)


def _alarms(verdict: HealthDecision, sights: Iterable[HostObservation]) -> dict[str, str]:
    found = {
        HOST_LOST.key(sight.name): f"host {sight.name} is lost"
        for sight in sights
        if sight.health == HostHealth.LOST or sight.host_id in verdict.lost
    }
    for sight in sights:
        if sight.host_id in verdict.alive:
            found.pop(HOST_LOST.key(sight.name), None)
    found |= {
        HOST_AHEAD.key(sight.name): (
            f"host {sight.name} knows a later epoch than the database and refuses every call. Was the "
            "database restored from an old backup? Check this before you join the host again"
        )
        for sight in sights
        if sight.is_ahead
    }
    return found | ({MANY_SILENT.key(): verdict.alarm} if verdict.alarm else {})


def _begin_recoveries() -> int:
    """Open what brings shops back, so many at once that the workers have room for sign-ups too."""
    count, waiting = health.under_way()
    # A waiting recovery occupies no worker, but looks again every few seconds.
    room = min(RECOVERIES_AT_ONCE - (count - waiting), MOST_RECOVERIES - count)
    placements = health.waiting_for_a_place(room)
    if not placements or freezes.is_on(FreezeSwitch.Name.REPLACING):
        return 0
    return sum(health.begin_recovery(placement) is not None for placement in placements)


@lru_cache(maxsize=1)
def real() -> HealthCalls:
    """Edges and hosts over this process's broker."""
    return drivers.HostProber(client.caller(settings.STOA_BROKER_URL))
