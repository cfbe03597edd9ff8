"""Books many instances at once: a host's shops that must go elsewhere, a thousand sign-ups.

One statement books on all hosts together, one more writes all placements, one all decisions. A host that
has no room for its whole share by now takes nothing of it: the caller asks again, with the pool as it is.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from django.db import connection, transaction

from tenants.core import metrics
from tenants.placement.bookings import LOAD_WIDTH, Booking, array_text, high, total
from tenants.placement.models import Placement

# In one order for everybody, so that two of these wait for each other instead of deadlocking.
_LOCK = "SELECT id FROM tenants_host WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"

_BOOK_MANY = f"""
WITH share AS (
    SELECT host, count, memory, disk, figures::float8[] AS figures
      FROM unnest(%(hosts)s::bigint[], %(counts)s::int[], %(memory)s::bigint[],
                         %(disk)s::bigint[], %(loads)s::text[])
               AS columns (host, count, memory, disk, figures)
)
UPDATE tenants_host
   SET booked_cpu_millis = greatest(0, ceil(({high("share.figures")}) - 0.01)),
       booked_memory_bytes = booked_memory_bytes + share.memory,
       booked_disk_bytes = booked_disk_bytes + share.disk,
       placed = placed + share.count,
       load = {total("share.figures")},
       next_port = next_port + share.count
  FROM share
 WHERE id = share.host AND state = 'open'
   AND next_port + share.count - 1 <= last_port
   AND booked_memory_bytes + share.memory <= capacity_memory_bytes - reserve_memory_bytes
   AND booked_disk_bytes + share.disk <= capacity_disk_bytes - reserve_disk_bytes
   AND ({high("share.figures")}) <= capacity_cpu_millis - reserve_cpu_millis + 0.01
RETURNING id, next_port - share.count, name
"""  # noqa: S608

_WRITE = """
INSERT INTO tenants_placement (instance_id, host_id, port, cpu_millis, memory_bytes, disk_bytes,
                               shape, reasons, since, booked_at)
SELECT instance, host, port, cpu, memory, disk, shape::float8[], reasons::jsonb,
       statement_timestamp(), statement_timestamp()
  FROM unnest(%(instances)s::bigint[], %(hosts)s::bigint[], %(ports)s::int[], %(cpu)s::float8[],
              %(memory)s::bigint[], %(disk)s::bigint[], %(shapes)s::text[], %(reasons)s::text[])
       AS columns (instance, host, port, cpu, memory, disk, shape, reasons)
"""
_WRITE_DECISIONS = """
INSERT INTO tenants_decision (instance_id, host_name, outcome, reasons, at)
SELECT instance, host, 'placed', reasons::jsonb, statement_timestamp()
  FROM unnest(%(instances)s::bigint[], %(names)s::text[], %(reasons)s::text[])
       AS columns (instance, host, reasons)
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance (its primary key), where it is to go, what to book, and why there."""

    instance_id: int
    host_id: int
    booking: Booking
    reasons: tuple[str, ...]


@transaction.atomic
def reserve_many(wanted: Sequence[Wanted]) -> frozenset[int]:
    """Book and write down all that still fit; gives the instances that are placed now.

    An instance that has a place already keeps it and is left out. Raises IntegrityError, having written
    nothing, when one got a place elsewhere in this very moment.
    """
    placed = set(
        Placement.objects.filter(
            instance__in=[placement.instance_id for placement in wanted], until__isnull=True
        ).values_list("instance_id", flat=True)
    )
    shares: dict[int, list[Wanted]] = defaultdict(list)
    for placement in wanted:
        if placement.instance_id not in placed:
            shares[placement.host_id].append(placement)
    if not shares:
        return frozenset()
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [list(shares)])
        cursor.execute(_BOOK_MANY, _amounts(shares))
        booked = {pk: (first_port, name) for pk, first_port, name in cursor.fetchall()}
        rows = [
            (placement, booked[pk][0] + offset, booked[pk][1])
            for pk, share in shares.items()
            if pk in booked
            for offset, placement in enumerate(share)
        ]
        if rows:
            columns = _columns(rows)
            cursor.execute(_WRITE, columns)
            cursor.execute(_WRITE_DECISIONS, columns)
            transaction.on_commit(partial(metrics.PLACEMENTS.labels("together").inc, len(rows)))
    return frozenset(placement.instance_id for placement, _, _ in rows)


def _amounts(shares: Mapping[int, Sequence[Wanted]]) -> dict[str, list[object]]:
    loads = []
    for share in shares.values():
        sums = [0.0] * LOAD_WIDTH
        for booking, count in _counted(share).items():
            for column, value in enumerate(booking.load):
                sums[column] += count * value
        loads.append(array_text(sums))
    return {
        "hosts": list(shares),
        "counts": [len(share) for share in shares.values()],
        "memory": [
            sum(placement.booking.memory_bytes for placement in share) for share in shares.values()
        ],
        "disk": [
            sum(placement.booking.disk_bytes for placement in share) for share in shares.values()
        ],
        "loads": list(loads),
    }


def _counted(share: Sequence[Wanted]) -> dict[Booking, int]:
    """Instances nobody has measured yet all want the same."""
    found: dict[Booking, int] = defaultdict(int)
    for placement in share:
        found[placement.booking] += 1
    return found


def _columns(rows: Sequence[tuple[Wanted, int, str]]) -> dict[str, list[object]]:
    return {
        "instances": [placement.instance_id for placement, _, _ in rows],
        "hosts": [placement.host_id for placement, _, _ in rows],
        "ports": [port for _, port, _ in rows],
        "names": [name for _, _, name in rows],
        "cpu": [placement.booking.cpu_millis for placement, _, _ in rows],
        "memory": [placement.booking.memory_bytes for placement, _, _ in rows],
        "disk": [placement.booking.disk_bytes for placement, _, _ in rows],
        "shapes": [array_text(placement.booking.shape) for placement, _, _ in rows],
        "reasons": [json.dumps(placement.reasons) for placement, _, _ in rows],
    }
