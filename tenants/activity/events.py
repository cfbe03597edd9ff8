"""What befell instances, worked out from what their hosts hold.

A host's report says how things stand: how often a program was started again, how many processes ran out of
memory, whether it crashes again and again. Compared with the report before, that gives what happened in
between. The new report and the events of the difference are written in one transaction. An observer that
dies in the middle has written neither, and the next one finds the same difference.

However many instances a report speaks of, the number of queries is the same.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeGuard

from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from tenants.activity.models import InstanceEvent
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.states import EventKind

# An end or a kill is over at once; so long after the last of a row the next begins a new row.
QUIET_AFTER = timedelta(hours=1)
KEEP = timedelta(days=90)
MOST_LINES = 10
MOST_LINE_BYTES = 2048
_MOST_COUNT = 2**31 - 1
_MOST_MESSAGE = 300
# What a host found wrong with an instance, under the names it gives them (runtime.statuses.TroubleKind).
_TROUBLES = (
    EventKind.NOT_ANSWERING,
    EventKind.UNPLUGGED,
    EventKind.NO_LIMITS,
    EventKind.DAMAGED,
    EventKind.CANNOT_END,
)
_DISK_KINDS = {"near": EventKind.DISK_NEAR, "over": EventKind.DISK_OVER}


@dataclass(frozen=True, slots=True)
class Seen:
    """How one instance stands in a report, as far as events go.

    throttled_percent: how much of the time it was held back while it is, 0 while it is not, None when
    the host does not know (yet). troubles: what else is wrong, as (kind, message).
    """

    restarts: int = 0
    oom_kills: int = 0
    is_crash_looping: bool = False
    disk: str = "ok"
    throttled_percent: int | None = None
    exit_code: int | None = None
    last_lines: tuple[str, ...] = field(default=(), compare=False)
    troubles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EventChange:
    """What a difference between two reports means for one kind of event of one instance.

    times: how often it happened anew. is_open: whether it lasts, None for what does not last.
    """

    kind: EventKind
    times: int
    is_open: bool | None = None
    details: Mapping[str, object] = field(default_factory=dict)


def record(host: Host, before: object, after: object, *, at: datetime) -> int:
    """Write the events of the difference between two inventories of a host; returns how many changed.

    Inventories are as the host sent them. What cannot be understood of an instance is left out, and
    so is every instance that the record does not place on this host: a host speaks for its own only.
    The caller writes the new inventory in the same transaction.
    """
    old, new = seen_in(before), seen_in(after)
    differing = {
        instance_id: tuple(
            changes(old.get(instance_id, Seen()), new.get(instance_id, Seen(throttled_percent=0)))
        )
        for instance_id in old.keys() | new.keys()
        if old.get(instance_id) != new.get(instance_id)
    }
    wanted = {instance_id: found for instance_id, found in differing.items() if found}
    if not wanted:
        return 0
    placed = {
        placement.instance.public_id: placement.instance
        for placement in Placement.objects.filter(
            host=host, until=None, instance__public_id__in=wanted
        ).select_related("instance")
    }
    rows = {
        (event.instance_id, event.kind): event
        for event in InstanceEvent.objects.select_for_update().filter(
            instance__in=placed.values(), ended_at=None
        )
    }
    fresh: list[InstanceEvent] = []
    touched: list[InstanceEvent] = []
    for public_id, instance in placed.items():
        for change in wanted[public_id]:
            row = rows.get((instance.pk, change.kind))
            if row is not None:
                if _apply(row, change, at):
                    touched.append(row)
            elif change.times and change.is_open is not False:
                fresh.append(
                    InstanceEvent(
                        tenant_id=instance.tenant_id,
                        instance=instance,
                        kind=change.kind,
                        count=min(change.times, _MOST_COUNT),
                        first_at=at,
                        last_at=at,
                        details=dict(change.details),
                    )
                )
    InstanceEvent.objects.bulk_create(fresh)
    if touched:
        InstanceEvent.objects.bulk_update(touched, ["count", "last_at", "ended_at", "details"])
    return len(fresh) + len(touched)


def changes(old: Seen, new: Seen) -> Iterator[EventChange]:
    """Return what happened to an instance between two reports; pure."""
    ended = {"exit_code": new.exit_code, "last_lines": list(new.last_lines)}
    ends = _grown(old.restarts, new.restarts)
    if ends:
        yield EventChange(EventKind.EXITED, ends, details=ended)
    if new.is_crash_looping and (ends or not old.is_crash_looping):
        yield EventChange(EventKind.CRASH_LOOP, max(1, ends), is_open=True, details=ended)
    elif old.is_crash_looping and not new.is_crash_looping:
        yield EventChange(EventKind.CRASH_LOOP, 0, is_open=False)
    if kills := _grown(old.oom_kills, new.oom_kills):
        yield EventChange(EventKind.OOM_KILLED, kills)
    for state, kind in _DISK_KINDS.items():
        if (old.disk == state) != (new.disk == state):
            is_open = new.disk == state
            yield EventChange(kind, int(is_open), is_open=is_open)
    was, now = dict(old.troubles), dict(new.troubles)
    for kind in _TROUBLES:
        if (kind in was) != (kind in now):
            is_open = kind in now
            message = {"message": now[kind]} if is_open else {}
            yield EventChange(kind, int(is_open), is_open=is_open, details=message)
    if new.throttled_percent is not None and new.throttled_percent != old.throttled_percent:
        is_open = new.throttled_percent > 0
        percent = {"percent": new.throttled_percent} if is_open else {}
        yield EventChange(EventKind.THROTTLED, int(is_open), is_open=is_open, details=percent)


def seen_in(inventory: object) -> dict[str, Seen]:
    """Return how each instance stands, by id; entries that are not of the agreed shape are left out."""
    entries = inventory if isinstance(inventory, list) else []
    return {
        entry["instance_id"]: seen
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("instance_id"), str)
        and (seen := _seen(entry)) is not None
    }


def close_quiet() -> int:
    """End rows of what is long over, and of instances that are placed nowhere; two queries."""
    still_open = InstanceEvent.objects.filter(ended_at=None)
    passing = still_open.filter(kind__in=[EventKind.EXITED, EventKind.OOM_KILLED])
    ended = passing.filter(last_at__lt=Now() - QUIET_AFTER).update(ended_at=F("last_at"))
    placed = Placement.objects.filter(instance=OuterRef("instance"), until=None)
    return ended + still_open.filter(~Exists(placed)).update(ended_at=Now())


def forget_old(most: int) -> int:
    """Delete events that ended long ago, oldest first, at most so many."""
    old = InstanceEvent.objects.filter(last_at__lt=Now() - KEEP, ended_at__lt=Now() - KEEP)
    pks: Collection[int] = list(old.order_by("last_at").values_list("pk", flat=True)[:most])
    return InstanceEvent.objects.filter(pk__in=pks).delete()[0] if pks else 0


def _apply(row: InstanceEvent, change: EventChange, at: datetime) -> bool:
    """Bring an open row up to date; False when nothing is to be written."""
    if change.is_open is False:
        row.ended_at = at
        return True
    if change.kind == EventKind.THROTTLED or not change.times:
        return False  # it goes on; the share it began with is reported
    row.count = min(row.count + change.times, _MOST_COUNT)
    row.last_at = at
    row.details = dict(change.details)
    return True


def _grown(old: int, new: int) -> int:
    """Return how far a counter has grown; a lower one began anew with another start."""
    return new - old if new >= old else new


def _seen(entry: Mapping[str, object]) -> Seen | None:
    restarts, kills = entry.get("restarts", 0), entry.get("oom_kills", 0)
    looping, disk = entry.get("crash_looping", False), entry.get("disk", "ok")
    percent, code = entry.get("throttled_percent"), entry.get("exit_code")
    if not (_is_count(restarts) and _is_count(kills) and isinstance(looping, bool)):
        return None
    if not isinstance(disk, str) or disk not in {"ok", *_DISK_KINDS}:
        return None
    if not (code is None or _is_count(code)):
        return None
    if not (percent is None or (_is_count(percent) and percent <= 100)):
        return None
    lines, troubles = _lines(entry.get("last_lines", ())), _troubles(entry.get("troubles", ()))
    return Seen(restarts, kills, looping, disk, percent, code, lines, troubles)


def _troubles(value: object) -> tuple[tuple[str, str], ...]:
    """Return the troubles this code knows; what is not of the agreed shape is left out."""
    found = {}
    for entry in value if isinstance(value, list | tuple) else ():
        trouble = (
            (entry.get("kind"), entry.get("message")) if isinstance(entry, dict) else (None, None)
        )
        if trouble[0] in _TROUBLES and isinstance(trouble[1], str):
            found[str(trouble[0])] = _printable(trouble[1][:_MOST_MESSAGE])
    return tuple(sorted(found.items()))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MOST_COUNT


def _lines(value: object) -> tuple[str, ...]:
    """Return the newest lines that fit, without what a database or a page cannot take."""
    if not isinstance(value, list | tuple):
        return ()
    kept: list[str] = []
    left = MOST_LINE_BYTES
    for line in reversed([line for line in value if isinstance(line, str)][-MOST_LINES:]):
        text = _printable(line[:left])
        left -= len(text)
        kept.append(text)
        if left <= 0:
            break
    return tuple(reversed(kept))
