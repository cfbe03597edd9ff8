"""Whether this Stoa is well enough to take a sign-up, part by part, in sentences.

/readyz answers from it, and bin/up waits on it through `manage.py check_signup`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from tenants.models import Edge, FreezeSwitch, Host, HostReport, PeriodicRun, Plan, Release
from tenants.services.signups import DEFAULT_APP
from tenants.states import HostState
from workers import room
from workers.scheduler import Unplaced

# Hosts report every 2 seconds and edges too; three misses and a bit.
HEARD_WITHIN = timedelta(seconds=10)
BEAT_WITHIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing a sign-up needs; problem is "" while it is well, else a sentence."""

    name: str
    problem: str

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problem


def web_parts() -> list[Part]:
    """What the web needs to answer at all: database, its tables, broker, and a beat that beats."""
    parts = [_look("database", _database)]
    if parts[0].is_well:
        parts.append(_look("migrations", _migrations))
    parts.append(_look("redis", _redis))
    if all(part.is_well for part in parts):
        parts.append(_look("beat", _beat))
    return parts


def signup_parts(*, heard_within: timedelta = HEARD_WITHIN) -> list[Part]:
    """All a sign-up needs: the web's parts, then catalogue, a host that reports, an edge in step, and
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
        _look("room", _room),
    ]


def _look(name: str, check: Callable[[], str]) -> Part:
    try:
        return Part(name, check())
    except (DatabaseError, redis.RedisError, OSError) as error:
        return Part(name, f"{type(error).__name__}: {str(error).strip()[:200]}")


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations are not applied; run bin/up" if missing else ""


def _redis() -> str:
    client = redis.Redis.from_url(
        settings.STOA_BROKER_URL, socket_timeout=1, socket_connect_timeout=1
    )
    try:
        client.ping()
    finally:
        client.close()
    return ""


def _database_now() -> datetime:
    # Ages are measured on the database's clock, as everywhere (docs/architecture.md).
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now


def _beat() -> str:
    newest = PeriodicRun.objects.order_by("-started_at").first()
    if newest is None:
        return "no periodic task has run yet"
    age = _database_now() - newest.started_at
    if age > BEAT_WITHIN:
        return f"no periodic task has run for {age.total_seconds():.0f} s; is beat or sweep down?"
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


def _room() -> str:
    """Why the flow would not find a place now, asked as the flow asks."""
    frozen = FreezeSwitch.objects.filter(name=FreezeSwitch.Name.PLACEMENTS, is_on=True).first()
    if frozen is not None:
        return f"an operator has stopped new shops: {frozen.reason}"
    release = Release.objects.filter(app__slug=DEFAULT_APP).order_by("-number").first()
    if release is None:
        return f"the app {DEFAULT_APP} has no release; run manage.py bootstrap"
    for plan in Plan.objects.filter(is_public=True):
        answer = room.decide(release, plan)
        if isinstance(answer, Unplaced) and answer.why == "full":
            return f"no host has room for a shop on {plan.slug}; {answer.told}"
        if isinstance(answer, Unplaced) and answer.why == "unseen":
            return "no host that may have room is heard and alive"
    return ""


def _edge(heard_within: timedelta) -> str:
    ready = Edge.objects.filter(seen_at__gt=_database_now() - heard_within, is_synced=True)
    if ready.exists():
        return ""
    return f"no edge is in step, or none was heard in the last {heard_within.total_seconds():.0f} s"
