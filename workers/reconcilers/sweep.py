"""Finds what nobody works on: open operations without a worker, old journals, alarms that are over.

Whatever was lost on the way (a message, a worker, the whole broker) is found here again.
"""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from tenants.activity import events
from tenants.core import alarm_kinds, alarms, brakes, dispatch
from tenants.core.models import Notice, PeriodicRun, ProgramBeat, Transition
from tenants.operations import leases, line, operations
from tenants.operations.models import IdempotencyKey, Operation
from tenants.placement import placements, resizing
from tenants.placement.models import Decision
from tenants.pool import restored_record
from tenants.pool.models import Edge, Host, HostReport, JoinToken
from tenants.snapshots import repositories
from tenants.snapshots.repositories.directory import DirectoryRepository
from tenants.states import OPEN_OPERATION_STATES, OperationState
from tenants.usage.models import HostUsage
from workers.broker.commands import queue_length
from workers.leases import periodic
from workers.leases.periodic import once
from workers.pool.reader import pool_slots
from workers.reconcilers import certificates

# What waits in the queue already will be taken: sweeping it again would only make the queue longer.
MOST_WAITING = 200
# Of those that wait for what is not there: each try costs, and most find that it still is not there.
MOST_AWAITING = 32
# Hints that operations wait in line; the worker that takes one goes on with those behind. A hint costs
# 8 ms of processor time: none is given while all slots are taken, as each slot takes the next by itself.
MOST_HINTS = 32
KEEP_TRANSITIONS = timedelta(days=90)
KEEP_DECISIONS = timedelta(days=30)
KEEP_USAGE = timedelta(days=14)
KEEP_KEYS = timedelta(days=2)
KEEP_BEATS = timedelta(days=1)
KEEP_JOIN_TOKENS = timedelta(days=90)
KEEP_NOTICES = timedelta(days=14)
DELETE_AT_ONCE = 5000
# What is only kept for a while, and by which moment it is old. Each has an index that begins with it.
JOURNALS: tuple[tuple[QuerySet[Any], str, timedelta], ...] = (
    (Transition.objects.all(), "at", KEEP_TRANSITIONS),
    (Decision.objects.all(), "at", KEEP_DECISIONS),
    (HostUsage.objects.all(), "at", KEEP_USAGE),
    (IdempotencyKey.objects.all(), "created_at", KEEP_KEYS),
    (JoinToken.objects.all(), "expires_at", KEEP_JOIN_TOKENS),
    (ProgramBeat.objects.all(), "at", KEEP_BEATS),
    (Session.objects.all(), "expire_date", timedelta()),
    (Notice.objects.all(), "at", KEEP_NOTICES),
)
SILENT_AFTER = timedelta(seconds=30)
LOOK_AT_HOSTS = 20  # each minute, so that 2,000 are looked at in two hours


log = logging.getLogger(__name__)
# What a host may call a trouble of its disks. Any other word is HOST_CONDITION.
_DISKS = {
    "disk_low": alarm_kinds.DISK_LOW,
    "disk_full": alarm_kinds.DISK_FULL,
    "disk_unfit": alarm_kinds.DISK_UNFIT,
}


@once("sweep")
def sweep() -> str:
    """Hand due operations that nobody holds to the workers again, and tell them that somebody is in line."""
    _give_time_back()
    room = MOST_WAITING - queue_length(dispatch.CONTROL_QUEUE)
    found = _due(room)
    room -= len(found)
    if room > 0:
        found += [0] * line.takeable(pool_slots(), most=min(room, MOST_HINTS))
    for pk in found:
        current_app.send_task(
            dispatch.RUN_OPERATION,
            args=[pk],
            queue=dispatch.CONTROL_QUEUE,
            retry=False,
            ignore_result=True,
        )
    return f"{len(found)} operations handed over again" if found else ""


@once("tidy")
def tidy() -> str:
    """Free ports, tell what is silent, put sums right, throw away what is older than its journal keeps."""
    placements.forget_caught_up_edges()
    if periodic.unbroken_for("observe", now=periodic.database_now()) > SILENT_AFTER.total_seconds():
        alarms.keep("silent", _silent())
    alarms.keep("host", _conditions())
    doubted = restored_record.alarm()
    alarms.keep("restored", {alarm_kinds.RESTORED.key(): doubted} if doubted else {})
    alarms.keep("edge", _refusing())
    ending = certificates.running_out(Path(settings.STOA_SECRETS_DIR), certificates.now())
    alarms.keep("certificate", ending)
    events.close_quiet()
    repaired = [
        sentence for pk in resizing.some_hosts(LOOK_AT_HOSTS) if (sentence := resizing.repair(pk))
    ]
    _sweep_repository()
    gone = events.forget_old(DELETE_AT_ONCE) + brakes.forget_old(DELETE_AT_ONCE)
    for rows, moment, keep in JOURNALS:
        old = rows.filter(**{f"{moment}__lt": Now() - keep}).order_by(moment)
        gone += rows.filter(
            pk__in=list(old.values_list("pk", flat=True)[:DELETE_AT_ONCE])
        ).delete()[0]
    return "; ".join([*repaired, *([f"{gone} old rows thrown away"] if gone else [])])


@transaction.atomic
def _give_time_back() -> None:
    """Add the time between two late rounds to deadlines: a part was away, and that time does not count."""
    row = PeriodicRun.objects.filter(name="sweep", finished_at__isnull=False)
    pauses = row.annotate(pause=Now() - F("finished_at")).values_list("pause", flat=True)
    seconds = max((pause.total_seconds() for pause in pauses), default=0.0)
    if seconds > leases.OUTAGE_SECONDS:
        count = operations.give_time_back(seconds)
        row.update(
            finished_at=Now()
        )  # so that a round that fails after this does not give it twice
        log.warning("no sweep for %.0f s; %d open operations got the time back", seconds, count)


def _sweep_repository() -> None:
    repository = repositories.current()
    if isinstance(repository, DirectoryRepository):
        repository.sweep()


def _conditions() -> dict[str, str]:
    """Return what hosts say is wrong with themselves, by what it is called among the alarms."""
    return {
        _DISKS.get(condition["kind"], alarm_kinds.HOST_CONDITION).key(report.host.name, place): (
            f"host {report.host.name}: {condition['message']}"
        )
        for report in HostReport.objects.exclude(conditions=[])
        .select_related("host")
        .only("conditions", "host__name")
        for place, condition in enumerate(report.conditions)
    }


def _refusing() -> dict[str, str]:
    """Edges that had to leave routes out: those shops cannot be reached there."""
    return {
        alarm_kinds.ROUTES_REFUSED.key(
            edge.name
        ): f"edge {edge.name} leaves out {'; '.join(edge.refused)}"
        for edge in Edge.objects.exclude(refused=[])
    }


def _silent() -> dict[str, str]:
    """Alarms about agents that are in the record and do not report."""
    late = Now() - SILENT_AFTER
    quiet_hosts = Host.objects.exclude(report__seen_at__gte=late).values_list("name", flat=True)
    quiet_edges = Edge.objects.exclude(seen_at__gte=late).values_list("name", flat=True)
    return {
        **{
            alarm_kinds.HOST_SILENT.key(name): f"host {name} does not report"
            for name in quiet_hosts
        },
        **{
            alarm_kinds.EDGE_SILENT.key(name): f"edge {name} does not report"
            for name in quiet_edges
        },
    }


def _due(limit: int) -> list[int]:
    """Return the operations to hand over by name. The line has its own order, except for operations that
    were called off or left by a worker.
    """
    if limit <= 0:
        return []
    free = Operation.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()),
        Q(is_in_line=False) | Q(state=OperationState.RUNNING) | Q(cancel_requested=True),
        state__in=OPEN_OPERATION_STATES,
        run_after__lte=Now(),
    ).order_by("run_after", "pk")
    return [
        pk
        for waits, most in ((False, limit), (True, min(limit, MOST_AWAITING)))
        for pk in free.filter(waiting_since__isnull=not waits).values_list("pk", flat=True)[:most]
    ][:limit]
