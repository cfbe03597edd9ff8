"""Books room on hosts: what a booking holds, how bookings add up, and the guard of a host's limits.

Memory and disk add up as they are. Processor and network are shared by the hour of the day: a host keeps
the sums of the means, the swings and the squared swings of all that is placed there
(workers/scheduler/demand_vector.py says why). One formula turns these sums into the expected demand for
the processor; it stands here once more in SQL. So single guarded statements take room and give it back.
"""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from django.db import connection, transaction

from tenants.catalogue.models import Plan, Release
from tenants.placement.models import PortQuarantine
from tenants.pool.models import Host

HOURS = 24
SHAPE_WIDTH = 4 * HOURS
LOAD_WIDTH = 6 * HOURS

# As in workers.scheduler.demand_vector, which a test compares: how sure it must be that a host has enough.
# The share that the scheduler leaves free is not kept here: it is what two decisions at once may use up.
Z = 2.3263
CORRELATION = 0.1

# A shop is born with 50 kB of a limit of hundreds of megabytes (docs/decisions/0012).
DISK_SHARE = 64
# What is guessed of a program that nobody has measured: most wait for visitors most of the time.
CPU_SHARE = 50
MEMORY_SHARE = 2
# The most instances of a host, however small they are; it has fewer where it has fewer ports.
MOST_INSTANCES = 20_000


def high(more: str) -> str:
    """SQL: what a host's processor is expected to be asked for at its busiest hour, with more on it.

    more: an SQL expression, figures as in Host.load. Shapes are multiples of 1/64 millicore, so that what
    was added can be taken off again without a trace.
    """
    return f"""
        SELECT COALESCE(max(COALESCE(mean, 0) + more + {Z} * sqrt(greatest(0,
                   {CORRELATION} * (COALESCE(swing, 0) + more_swing) ^ 2
                   + {1 - CORRELATION} * (COALESCE(square, 0) + more_square)))), 0)
          FROM unnest(load[1:24], load[25:48], load[97:120],
                      ({more})[1:24], ({more})[25:48], ({more})[97:120])
               AS hours (mean, swing, square, more, more_swing, more_square)
    """  # noqa: S608


def total(more: str) -> str:
    """SQL: a host's load with more on it."""
    return f"""ARRAY(SELECT COALESCE(old, 0) + more
                       FROM unnest(load, {more}) AS columns (old, more))"""  # noqa: S608


def _booked(*, has_fresh: bool) -> str:
    """SQL: take the room of a host, with its next fresh port where it has one, else with none yet."""
    port, step = ("next_port <= last_port", 1) if has_fresh else ("next_port > last_port", 0)
    return f"""
    UPDATE tenants_host
       SET booked_cpu_millis = greatest(0, ceil(({high("wanted.figures")}) - 0.01)),
           booked_memory_bytes = booked_memory_bytes + %(memory)s,
           booked_disk_bytes = booked_disk_bytes + %(disk)s,
           placed = placed + 1,
           load = {total("wanted.figures")},
           next_port = next_port + {step}
      FROM (SELECT %(load)s::float8[] AS figures) AS wanted
     WHERE id = %(host)s AND state = 'open' AND {port}
       AND booked_memory_bytes + %(memory)s <= capacity_memory_bytes - reserve_memory_bytes
       AND booked_disk_bytes + %(disk)s <= capacity_disk_bytes - reserve_disk_bytes
       AND ({high("wanted.figures")}) <= capacity_cpu_millis - reserve_cpu_millis + 0.01
    RETURNING next_port - {step} AS port, id, name, address, engine, epoch
    """  # noqa: S608


# Many of these a second on one hot host, where a version check would make all but one try again.
_BOOK = _booked(has_fresh=True)
# Ports that were given out before: next_port stays where it is, or ports that are added later would be lost.
_BOOK_USED = _booked(has_fresh=False)
_PLACE = f"""
WITH booked AS ({_BOOK}),
written AS (
    INSERT INTO tenants_placement (instance_id, host_id, port, cpu_millis, memory_bytes, disk_bytes,
                                   shape, reasons, since, booked_at)
    SELECT %(instance)s, id, port, %(cpu)s, %(memory)s, %(disk)s, %(shape)s::float8[],
           %(reasons)s::jsonb, statement_timestamp(), statement_timestamp() FROM booked
    RETURNING id AS placement
), kept AS (
    INSERT INTO tenants_decision (instance_id, host_name, outcome, reasons)
    SELECT %(instance)s, name, 'placed', %(reasons)s::jsonb FROM booked
)
SELECT booked.*, written.placement FROM booked, written
"""  # noqa: S608

# Asked for in front of every sign-up: not through the ORM, which takes three times as long.
_PRIOR = """
SELECT cpu_millis, memory_bytes, disk_bytes, shape
  FROM tenants_prior WHERE app_id = %s AND plan_id = %s
"""

# Fresh ports first; then the one that was given back longest ago and that no edge can still hold
# (an edge that was removed from the record holds nothing).
_REUSE_PORT = """
DELETE FROM tenants_portquarantine WHERE id = (
    SELECT id FROM tenants_portquarantine
     WHERE host_id = %(host)s AND port <> ALL(%(held)s)
       AND port <= (SELECT last_port FROM tenants_host WHERE id = %(host)s)
       AND NOT EXISTS (SELECT 1 FROM tenants_edge WHERE waiting_for ? name)
     ORDER BY released_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING port
"""

_UNBOOK = f"""
UPDATE tenants_host
   SET booked_cpu_millis = greatest(0, ceil(({high("wanted.figures")}) - 0.01)),
       booked_memory_bytes = booked_memory_bytes - %(memory)s,
       booked_disk_bytes = booked_disk_bytes - %(disk)s,
       placed = greatest(0, placed - 1),
       load = {total("wanted.figures")}
  FROM (SELECT %(load)s::float8[] AS figures) AS wanted
 WHERE id = %(host)s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Booking:
    """What an instance is expected to use, booked on its host while it is placed there.

    shape: by hours of the day, 24 means and 24 swings of the processor (millicores), then of the network
    (bytes a second); empty for cpu_millis all day long.
    """

    cpu_millis: float
    memory_bytes: int
    disk_bytes: int
    shape: tuple[float, ...] = ()

    @property
    def load(self) -> list[float]:
        """What it adds to Host.load."""
        return load_of(self.cpu_millis, self.shape)

    @property
    def least_cpu_millis(self) -> float:
        """What it wants of the processor at its quietest hour."""
        return min(self.shape[:HOURS]) if self.shape else self.cpu_millis


@dataclass(frozen=True, slots=True)
class Seat:
    """A booked place: a host and a port of it."""

    host: Host
    port: int


def load_of(cpu_millis: float, shape: Sequence[float]) -> list[float]:
    """Return a placement's figures in the form that adds up on Host.load."""
    if not shape:
        return [float(cpu_millis)] * HOURS + [0.0] * (LOAD_WIDTH - HOURS)
    squares = [swing * swing for swing in (*shape[24:48], *shape[72:96])]
    return [*shape, *squares]


def cold_booking(release: Release, plan: Plan) -> Booking:
    """Return what to book for an instance that nobody has measured yet.

    What others of the same app and plan use; before there are any, the release's prior; else a moderate
    guess. The first ones are measured within minutes (workers/usage/priors.py), and hosts that fill up say
    so.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PRIOR, [release.app_id, plan.pk])
        prior = cursor.fetchone()
    if prior is None:
        return guess(release, plan)
    cpu_millis, memory_bytes, disk_bytes, shape = prior
    return within(Booking(cpu_millis, memory_bytes, disk_bytes, tuple(shape)), plan)


def guess(release: Release, plan: Plan) -> Booking:
    """Return what to book for a program that nobody has measured: the release's prior, or a part of the
    plan.
    """
    cpu_millis = release.prior_cpu_millis or plan.cpu_millis / CPU_SHARE
    return Booking(
        cpu_millis=exact(min(cpu_millis, plan.cpu_millis)),
        memory_bytes=min(
            release.prior_memory_bytes or plan.memory_bytes // MEMORY_SHARE, plan.memory_bytes
        ),
        disk_bytes=plan.disk_bytes // DISK_SHARE,
    )


def within(booking: Booking, plan: Plan) -> Booking:
    """Return the booking, with no amount above what the plan sells."""
    return replace(
        booking,
        cpu_millis=min(booking.cpu_millis, plan.cpu_millis),
        memory_bytes=min(booking.memory_bytes, plan.memory_bytes),
        disk_bytes=min(booking.disk_bytes, plan.disk_bytes),
    )


def place(
    instance_id: int, host_id: int, booking: Booking, *, reasons: Sequence[str]
) -> tuple[Seat, int] | None:
    """Book room and a fresh port, write the placement and keep the decision, in one statement; the
    placement's primary key.

    None when the host has no room by now, or no fresh port: then nothing is booked.
    """
    wanted: dict[str, float | str] = {
        "host": host_id,
        "instance": instance_id,
        "cpu": booking.cpu_millis,
        "shape": array_text(booking.shape),
        "reasons": json.dumps(list(reasons)),
        **_amounts(booking),
    }
    with connection.cursor() as cursor:
        cursor.execute(_PLACE, wanted)
        row = cursor.fetchone()
    if row is None:
        return None
    port, *seat, placement_id = row
    return _seat(port, seat), placement_id


@transaction.atomic(savepoint=False)
def book(host_id: int, booking: Booking) -> Seat | None:
    """Book room and a port on the host; None when it has not both by now.

    Whoever books writes down in the same transaction what for.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BOOK, {"host": host_id, **_amounts(booking)})
        row = cursor.fetchone()
    if row is None:
        return book_used(host_id, booking)
    port, *seat = row
    return _seat(port, seat)


@transaction.atomic(savepoint=False)
def book_used(host_id: int, booking: Booking) -> Seat | None:
    """As book, on a host whose ports were all given out once: None while it has a fresh one, too."""
    with connection.cursor() as cursor:
        cursor.execute(_BOOK_USED, {"host": host_id, **_amounts(booking)})
        row = cursor.fetchone()
    if row is None:
        return None
    port = _rested_port(host_id, held=())
    if port is None:
        unbook(host_id, booking)
        return None
    return _seat(port, row[1:])


@transaction.atomic(savepoint=False)
def another_port(host_id: int, *, held: Collection[int]) -> int | None:
    """Return a port of the host beside those that are held there, for what has its room already; None for
    none.

    Fresh ones that are passed over rest like any that was given back.
    """
    host = Host.objects.select_for_update(no_key=True).get(pk=host_id)
    fresh = range(host.next_port, host.last_port + 1)
    port = next((candidate for candidate in fresh if candidate not in held), None)
    if port is None:
        return _rested_port(host_id, held=held)
    PortQuarantine.objects.bulk_create(
        [
            PortQuarantine(host=host, port=unused, hostname="")
            for unused in range(fresh.start, port)
        ],
        ignore_conflicts=True,
    )
    Host.objects.filter(pk=host_id).update(next_port=port + 1)
    return port


def _rested_port(host_id: int, *, held: Collection[int]) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(_REUSE_PORT, {"host": host_id, "held": sorted(held)})
        row = cursor.fetchone()
    return row[0] if row else None


def unbook(host_id: int, booking: Booking) -> None:
    """Give the room back."""
    amounts = _amounts(booking)
    amounts["load"] = array_text([-amount for amount in booking.load])
    with connection.cursor() as cursor:
        cursor.execute(_UNBOOK, {"host": host_id, **amounts})


def _seat(port: int, columns: Sequence[object]) -> Seat:
    return Seat(Host.from_db(None, ["id", "name", "address", "engine", "epoch"], columns), port)


def exact(cpu_millis: float) -> float:
    """At least as much, in multiples of 1/64 millicore (16 microcores)."""
    return math.ceil(cpu_millis * 64) / 64


def array_text(values: Iterable[float]) -> str:
    """As PostgreSQL reads an array: as one word, which it takes apart faster than a list of numbers."""
    return "{" + ",".join(map(repr, values)) + "}"


def _amounts(booking: Booking) -> dict[str, float | str]:
    return {
        "memory": booking.memory_bytes,
        "disk": booking.disk_bytes,
        "load": array_text(booking.load),
    }
