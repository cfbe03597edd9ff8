"""Books placed instances at other amounts, and sees to it that a host's sums are those of its placements."""

import logging
from collections.abc import Sequence

from django.db import connection, transaction

from tenants.placement.bookings import LOAD_WIDTH, Booking, array_text, high, load_of, total
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.transfers.models import Move

log = logging.getLogger(__name__)

# Of a sum of floating point numbers; placements themselves are compared exactly.
_TOLERANCE = 1e-6

_WRITE = """
UPDATE tenants_placement
   SET cpu_millis = new.cpu, memory_bytes = new.memory, disk_bytes = new.disk,
       shape = new.shape::float8[], booked_at = statement_timestamp()
  FROM unnest(%s::bigint[], %s::float8[], %s::bigint[], %s::bigint[], %s::text[])
       AS new (id, cpu, memory, disk, shape)
 WHERE tenants_placement.id = new.id AND until IS NULL
"""

# Not guarded: what is used is used. A host that turns out to be too full is relieved by moves.
_ADJUST = f"""
UPDATE tenants_host
   SET booked_cpu_millis = greatest(0, ceil(({high("change.figures")}) - 0.01)),
       booked_memory_bytes = greatest(0, booked_memory_bytes + %(memory)s),
       booked_disk_bytes = greatest(0, booked_disk_bytes + %(disk)s),
       load = {total("change.figures")}
  FROM (SELECT %(load)s::float8[] AS figures) AS change
 WHERE id = %(host)s
"""  # noqa: S608


@transaction.atomic
def rebook(host_id: int, changes: Sequence[tuple[Placement, Booking]]) -> int:
    """Book these open placements of one host at other amounts; returns how many there are.

    The caller holds the placements' rows, as it read them. One statement writes them, one the host.
    """
    if not changes:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            [
                [placement.pk for placement, _ in changes],
                [booking.cpu_millis for _, booking in changes],
                [booking.memory_bytes for _, booking in changes],
                [booking.disk_bytes for _, booking in changes],
                [array_text(booking.shape) for _, booking in changes],
            ],
        )
        load = [0.0] * LOAD_WIDTH
        for placement, booking in changes:
            old = load_of(placement.cpu_millis, placement.shape)
            for column, (before, after) in enumerate(zip(old, booking.load, strict=True)):
                load[column] += after - before
        cursor.execute(
            _ADJUST,
            {
                "host": host_id,
                "memory": sum(new.memory_bytes - old.memory_bytes for old, new in changes),
                "disk": sum(new.disk_bytes - old.disk_bytes for old, new in changes),
                "load": array_text(load),
            },
        )
    return len(changes)


@transaction.atomic
def repair(host_id: int) -> str:
    """Compare a host's sums with its open placements and put them right; says what was wrong, or "".

    Whoever books holds the host's row until its placement is written: with the row held here, both are
    seen as they belong together.
    """
    host = Host.objects.select_for_update(no_key=True).filter(pk=host_id).first()
    if host is None:
        return ""
    placed = memory = disk = 0
    load = [0.0] * LOAD_WIDTH
    for cpu_millis, memory_bytes, disk_bytes, shape in _held(host_id):
        placed, memory, disk = placed + 1, memory + memory_bytes, disk + disk_bytes
        for column, value in enumerate(load_of(cpu_millis, shape)):
            load[column] += value
    stored = [*host.load, *[0.0] * (LOAD_WIDTH - len(host.load))]
    off = max(
        abs(there - is_so) / max(1.0, abs(is_so)) for there, is_so in zip(stored, load, strict=True)
    )
    wrong = (host.placed, host.booked_memory_bytes, host.booked_disk_bytes) != (
        placed,
        memory,
        disk,
    )
    if not wrong and off < _TOLERANCE:
        return ""
    changes = [new - old for new, old in zip(load, stored, strict=True)]
    Host.objects.filter(pk=host_id).update(placed=placed)
    with connection.cursor() as cursor:
        cursor.execute(
            _ADJUST,
            {
                "host": host_id,
                "memory": memory - host.booked_memory_bytes,
                "disk": disk - host.booked_disk_bytes,
                "load": array_text(changes),
            },
        )
    report = (
        f"host {host.name} was booked for {host.placed} instances and {host.booked_memory_bytes} bytes "
        f"of memory; it holds {placed} with {memory} bytes"
    )
    log.warning("%s", report)
    return report


def some_hosts(count: int) -> list[int]:
    """Hosts to look at in this round, drawn by lot: all of them have their turn."""
    return list(Host.objects.order_by("?").values_list("pk", flat=True)[:count])


Held = tuple[float, int, int, list[float]]
_AMOUNTS = ("cpu_millis", "memory_bytes", "disk_bytes", "shape")


def _held(host_id: int) -> list[Held]:
    """Return what is booked there: for open placements, and for what is on its way there or not yet cleared
    away.
    """
    open_ones = Placement.objects.filter(host=host_id, until__isnull=True)
    moves = Move.objects.filter(ended_at__isnull=True)
    coming = moves.filter(target=host_id).exclude(is_switched=True)
    leaving = moves.filter(source=host_id, is_switched=True)
    return [
        *open_ones.values_list(*_AMOUNTS),
        *coming.values_list(*_AMOUNTS),
        *leaving.values_list(*(f"placement__{name}" for name in _AMOUNTS)),
    ]
