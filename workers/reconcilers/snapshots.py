"""Regular snapshots: hands out tenants that are due, deletes unneeded archives, reads old ones again.

A message to the workers is one tenant, and those due after it. Few are under way at once, and fewer per
host: a snapshot may take long, and a sign-up must not wait for it.
"""

import logging
import time
from collections import Counter

from celery import current_app
from django.conf import settings

from runtime.errors import DataMissingError, RuntimeCoreError
from tenants.core import alarm_kinds, alarms, dispatch
from tenants.errors import TenantsError
from tenants.operations import line
from tenants.placement import placements
from tenants.pool import restored_record
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import due as snapshot_rounds
from tenants.snapshots import marks, snapshot_queries
from tenants.snapshots.due import Due, GiveWay
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import RepositoryError
from tenants.states import OPEN_OPERATION_STATES, SnapshotDoubt, SnapshotState, TenantState
from tenants.transfers import missing_data
from workers.flows.clients import Clients
from workers.flows.steps import volumes
from workers.leases.periodic import once

TAKE = "workers.take_snapshot"
ENROL_AT_ONCE = 1000
TIDY_AT_ONCE = 200
WORK_SECONDS = 60.0
# While people wait for their shops to start, copies that are due wait for so long: both want processors.
# Not longer, however long the line: a shop's data comes before that.
GIVE_WAY_SECONDS = 60.0
# The first copy of a shop, which holds next to nothing yet, where others are being started just then.
FIRST_GIVES_WAY_SECONDS = 180.0
CHECKS_AT_ONCE = 20
CHECK_BYTES = 512 * 1024 * 1024
_NAMED = 5
_DOUBTS = {
    SnapshotDoubt.SHRUNK: (
        alarm_kinds.SNAPSHOTS_SHRUNK,
        "the newest copies of {} shops are much smaller than those before, which are kept",
    ),
    SnapshotDoubt.ANEW: (
        alarm_kinds.SNAPSHOTS_ANEW,
        "the newest copies of {} shops are of volumes that began empty; those before are kept",
    ),
    SnapshotDoubt.UNUSABLE: (
        alarm_kinds.SNAPSHOTS_UNUSABLE,
        "copies of {} shops could not be loaded by a host and are not used any more",
    ),
}

log = logging.getLogger(__name__)


@once("snapshots")
def hand_out() -> str:
    """Give out what is due, as far as there are hands."""
    if restored_record.is_frozen():
        return "frozen after a restore"
    snapshot_rounds.give_up_abandoned(TIDY_AT_ONCE)
    count, _ = snapshot_rounds.being_taken()
    free = settings.STOA_SNAPSHOTS_AT_ONCE - count
    due = _claim(free) if free > 0 else []
    for shop in due:
        current_app.send_task(
            TAKE,
            args=[shop.tenant_pk],
            queue=dispatch.CONTROL_QUEUE,
            retry=False,
            ignore_result=True,
        )
    return f"{len(due)} snapshots handed out" if due else ""


def work(tenant_pk: int, clients: Clients) -> str:
    """Make a tenant's regular snapshot, then others' that are due, for a while; how each ended.

    Rounds come every few seconds, a snapshot takes a tenth of one: hands that wait for the next round
    would stand still most of the time.
    """
    until = time.monotonic() + WORK_SECONDS
    outcomes = Counter([take(tenant_pk, clients)])
    while time.monotonic() < until and (due := _claim(1)):
        outcomes[take(due[0].tenant_pk, clients)] += 1
    return ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items()))


def take(tenant_pk: int, clients: Clients) -> str:
    """Make a tenant's regular snapshot; a word for what came of it."""
    tenant = Tenant.objects.filter(pk=tenant_pk, state=TenantState.LIVE).first()
    instance = Instance.objects.filter(tenant_id=tenant_pk).order_by("-pk").first()
    placement = placements.open_placement(instance) if instance else None
    if tenant is None or placement is None:
        return "gone"
    # What else is being done to the shop sees to its data itself; and a broker may bring a message again
    # while the first one is still being worked on.
    is_busy = tenant.operations.filter(state__in=OPEN_OPERATION_STATES).exists()
    if is_busy or snapshot_rounds.is_being_taken(tenant_pk):
        snapshot_rounds.postpone(tenant_pk)
        return "busy"
    try:
        reason = snapshot_rounds.reason_of(tenant)
        volumes.take(None, tenant, placement, clients, reason=reason)
    except (RuntimeCoreError, TenantsError) as error:
        if isinstance(error, DataMissingError):
            missing_data.say_of_copy(placement, reason=error.message)
        log.warning("no snapshot of %s: %s", tenant.slug, error.message)
        return "failed"
    finally:
        snapshot_rounds.reschedule(tenant_pk)
    return "kept"


@once("tidy_snapshots")
def tidy() -> str:
    """Give new shops a schedule, delete what nobody needs, say which shops have no young copy."""
    if restored_record.is_frozen():
        return "frozen after a restore"
    alarms.keep("snapshots", _alarms())
    snapshot_rounds.enrol(ENROL_AT_ONCE)
    snapshot_rounds.forget_strangers()
    try:
        gone = snapshot_rounds.delete_gone(TIDY_AT_ONCE)
    except RepositoryError as error:
        return f"nothing deleted: {error}"
    return f"{gone} archives deleted" if gone else ""


@once("check_snapshots")
def check() -> str:
    """Read some archives again, those first that nobody has read for the longest time."""
    read = lost = size = 0
    for snapshot in snapshot_rounds.longest_unchecked(CHECKS_AT_ONCE):
        size += snapshot.archive_bytes
        if read and size > CHECK_BYTES:
            break
        try:
            lost += not snapshot_rounds.check(snapshot)
        except RepositoryError as error:
            return f"nothing read: {error}"
        read += 1
    return f"{read} archives read again, {lost} damaged" if read else ""


def _claim(limit: int) -> list[Due]:
    per_host = settings.STOA_SNAPSHOTS_PER_HOST
    _, hosts = snapshot_rounds.being_taken()
    full = [host for host, busy in Counter(hosts).items() if busy >= per_host]
    way = None
    if line.do_people_wait():
        way = GiveWay(GIVE_WAY_SECONDS, FIRST_GIVES_WAY_SECONDS, line.hosts_starting())
    return snapshot_rounds.claim_due(limit, of_one_host=per_host, full_hosts=full, give_way=way)


def _alarms() -> dict[str, str]:
    """Return what is wrong with the copies, as long as it is."""
    found = {}
    count, late = snapshot_queries.late(_NAMED)
    if count:
        named = ", ".join(
            f"{shop.slug} (since {shop.since:%Y-%m-%d %H:%M} UTC"
            f"{': ' + shop.message if shop.message else ''})"
            for shop in late
        )
        found[alarm_kinds.SNAPSHOTS_LATE.key()] = (
            f"{count} shops have no snapshot for two periods: {named}"
        )
    damaged = Snapshot.objects.filter(state=SnapshotState.FAILED, kept_at__isnull=False)
    if lost := damaged.count():
        found[alarm_kinds.SNAPSHOTS_DAMAGED.key()] = marks.alarm_of_damaged(lost)
    for doubt, (kind, words) in _DOUBTS.items():
        count, slugs = snapshot_queries.doubtful(doubt, _NAMED)
        if count:
            found[kind.key()] = f"{words.format(count)}: {', '.join(slugs)}"
    return found
