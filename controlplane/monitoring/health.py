"""Whether this Stoa is well enough to take a sign-up, part by part, in sentences.

/readyz answers from it, and bin/up waits on it through `manage.py check_signup`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from tenants.catalogue.models import Plan, Release
from tenants.core import metric_queries, metrics
from tenants.core.models import FreezeSwitch, PeriodicRun, ProgramBeat
from tenants.operations.models import Operation
from tenants.placement import shortages
from tenants.placement.bookings import cold_booking
from tenants.pool.models import Edge, Host, HostReport
from tenants.shops.signups import DEFAULT_APP
from tenants.states import HostState, OperationState
from workers.reconcilers import capacity_check
from workers.scheduler import Unplaced

# As /metrics counts them: an agent that is silent there is not heard here, and so with programs.
HEARD_WITHIN = timedelta(seconds=metric_queries.HEARD_SECONDS)
PROGRAM_WITHIN = timedelta(seconds=metric_queries.BEAT_SECONDS)
# Rounds come every 2 seconds.
BEAT_WITHIN = timedelta(seconds=10)
STUCK_SECONDS = 15.0
LEAST_FREE_BYTES = 64 * 2**20  # four of PostgreSQL's log files: it stops when there is none


@dataclass(frozen=True, slots=True)
class ReadinessPart:
    """One thing a sign-up needs; problem is "" while it is well, else a sentence."""

    name: str
    problem: str

    @property
    def is_well(self) -> bool:
        """Return whether nothing is wrong with it."""
        return not self.problem


def web_parts() -> list[ReadinessPart]:
    """Return the parts that must work so that requests are accepted and done: stores, and each worker
    program.
    """
    parts = [_look("database", _database)]
    if parts[0].is_well:
        parts.append(_look("migrations", _migrations))
    parts += [_look("redis", _redis), _look("disk", _disk)]
    if all(part.is_well for part in parts if part.name in {"database", "migrations"}):
        parts += [
            _look("control", partial(_program, "control")),
            _look("sweep", partial(_program, "sweep")),
            _look("beat", _beat),
        ]
    return parts


def signup_parts(*, heard_within: timedelta = HEARD_WITHIN) -> list[ReadinessPart]:
    """Return all a sign-up needs: the web's parts, then catalogue, a host that reports, an edge in step, and
    the scheduler's own answer for every plan: a place.

    heard_within: how old a report may be; less right after a start, when older ones mean nothing.
    """
    parts = web_parts()
    if any(part.name in {"database", "migrations"} and not part.is_well for part in parts):
        return parts
    return [
        *parts,
        _look("catalogue", _catalogue),
        _look("host", partial(_host, heard_within)),
        _look("edge", partial(_edge, heard_within)),
        _look("freeze", _freeze),
        _look("room", _room),
    ]


def _look(name: str, check: Callable[[], str]) -> ReadinessPart:
    try:
        return ReadinessPart(name, check())
    except (DatabaseError, redis.RedisError, OSError) as error:
        if isinstance(error, redis.RedisError):  # the database's own are counted by its backend
            metrics.DEPENDENCY_ERRORS.labels("redis", "probe").inc()
        return ReadinessPart(name, f"{type(error).__name__}: {str(error).strip()[:200]}")


def _database() -> str:
    """Return whether it takes a write; what is written is taken back."""
    with transaction.atomic():
        ProgramBeat.objects.create(name=f"web {uuid4().hex}", program="web")
        transaction.set_rollback(True)
    return ""


# Tables do not lose columns while a process runs, and looking reads every migration from disk.
_is_migrated = False


def _migrations() -> str:
    global _is_migrated  # noqa: PLW0603 - one per process is the point
    if _is_migrated:
        return ""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    _is_migrated = not missing
    return f"{len(missing)} migrations are not applied; run bin/up" if missing else ""


def _redis() -> str:
    """Return whether it takes a write: one that is full still answers everything else."""
    client = redis.Redis.from_url(
        settings.STOA_BROKER_URL, socket_timeout=1, socket_connect_timeout=1
    )
    try:
        client.set("readyz", "1", px=1000)
    finally:
        client.close()
    return ""


def _disk() -> str:
    """Return whether there is room where the control plane writes: its own files, and the database's if
    near.
    """
    for folder in (settings.STOA_VAR, settings.STOA_VAR / "postgres", settings.STOA_VAR / "logs"):
        if not folder.exists():
            continue
        room = os.statvfs(folder)
        free = room.f_bavail * room.f_frsize
        if free < LEAST_FREE_BYTES:
            return f"{folder} has {free // 2**20} MiB left; make room"
    return ""


def _database_now() -> datetime:
    # Ages are measured on the database's clock, as everywhere (docs/architecture.md).
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now


def _program(program: str) -> str:
    """Return whether a process of this program is there, hears the broker, and gets on with its work."""
    now = _database_now()
    beats = ProgramBeat.objects.filter(program=program)
    newest = beats.order_by("-at").first()
    if newest is None:
        return f"{program} has not started yet"
    if now - newest.at > PROGRAM_WITHIN:
        return f"{program} has been silent for {(now - newest.at).total_seconds():.0f} s"
    alive = beats.filter(at__gt=now - PROGRAM_WITHIN)
    if not alive.filter(hears_broker=True).exists():
        return f"{program} does not hear the broker"
    idle = min(alive.values_list("idle_seconds", flat=True))
    if program == "control" and idle > STUCK_SECONDS and _work_waits(now):
        return f"operations wait, and control has begun and ended none for {idle:.0f} s"
    return ""


def _work_waits(now: datetime) -> bool:
    due = Operation.objects.filter(
        state=OperationState.PENDING, run_after__lt=now - timedelta(seconds=STUCK_SECONDS)
    )
    return due.exists()


def _beat() -> str:
    """Return whether rounds are asked for, and end: those that nothing works without."""
    ended = dict(PeriodicRun.objects.values_list("name", "finished_at"))
    now = _database_now()
    for name in ("sweep", "observe"):
        finished_at = ended.get(name)
        if finished_at is None:
            return f"no round of {name} has ended yet"
        age = now - finished_at
        if age > BEAT_WITHIN:
            return f"no round of {name} has ended for {age.total_seconds():.0f} s; is beat down?"
    return ""


def _catalogue() -> str:
    if not Plan.objects.filter(is_public=True).exists():
        return "no public plan exists; run manage.py bootstrap"
    if not Release.objects.exists():
        return "no release exists; run manage.py bootstrap"
    return ""


def _host(heard_within: timedelta) -> str:
    if not Host.objects.exists():
        return "no host is registered; run manage.py bootstrap"
    heard = HostReport.objects.filter(
        seen_at__gt=_database_now() - heard_within, host__state=HostState.OPEN
    )
    if not heard.exists():
        return f"no open host reported in the last {heard_within.total_seconds():.0f} s"
    return ""


def _freeze() -> str:
    frozen = FreezeSwitch.objects.filter(name=FreezeSwitch.Name.PLACEMENTS, is_on=True).first()
    return "" if frozen is None else f"new shops are stopped on purpose: {frozen.reason}"


def _room() -> str:
    """Return why the flow would not find a place now, asked as the flow asks."""
    release = Release.objects.filter(app__slug=DEFAULT_APP).order_by("-number").first()
    if release is None:
        return f"the app {DEFAULT_APP} has no release; run manage.py bootstrap"
    for plan in Plan.objects.filter(is_public=True):
        answer = capacity_check.decide(release, plan)
        if isinstance(answer, Unplaced) and answer.why == "full":
            return f"no host has room for a shop on {plan.slug}; {answer.told}"
        if isinstance(answer, Unplaced) and answer.why == "unseen":
            return "no host that may have room is heard and alive"
        lacking = shortages.scarce(release.app_id, plan.pk, cold_booking(release, plan))
        if lacking:
            return f"{lacking} is used up for a shop on {plan.slug} by what is booked and waits"
    return ""


def _edge(heard_within: timedelta) -> str:
    ready = Edge.objects.filter(seen_at__gt=_database_now() - heard_within, is_synced=True)
    if ready.exists():
        return ""
    return f"no edge is in step, or none was heard in the last {heard_within.total_seconds():.0f} s"
