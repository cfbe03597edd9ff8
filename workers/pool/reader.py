"""The pool as the scheduler takes it, read anew for every decision and still within milliseconds.

A host's row is large (what is placed there, hour by hour) and changes only when something is placed there
or taken away. So each process keeps the rows it has read. One statement brings a stamp of every row
(which PostgreSQL gives to each version of a row), together with what changes all
the time: who reports, how busy it is, how many starts are on their way. Only rows whose stamp differs
are read again. Nothing is believed for a while: a decision never rests on what was true before it began.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from django.db import connection

from tenants.operations import line
from tenants.placement.bookings import MOST_INSTANCES, SHAPE_WIDTH
from tenants.states import HostHealth, HostState
from workers.scheduler import PoolView
from workers.scheduler.demand_vector import CPU_SQUARE, DEFAULT, DISK, F32, LOAD_WIDTH, MEMORY
from workers.scheduler.profiles.history import HISTORY_WIDTH
from workers.scheduler.types import F64, Bools, Ints

# Reports come every 2 seconds and are written down every 4 or so.
FRESH_SECONDS = 10

# A row is 18 bytes here: its id, and where and by which transaction its present version was written.
# Work in hand is found by the index of open operations: as many rows as there are workers.
_STAMPS = """
SELECT (SELECT string_agg(int8send(id) || xidsend(xmin) || tidsend(ctid), '')
          FROM tenants_host WHERE state <> 'removed'),
       (SELECT string_agg(int8send(host_id) || int8send(used_cpu_millis)
                          || int8send(used_memory_bytes), '')
          FROM tenants_hostreport
         WHERE seen_at > statement_timestamp() - %(fresh)s * interval '1 second'),
       (SELECT jsonb_object_agg(host_id, conditions)
          FROM tenants_hostreport WHERE NOT conditions = '[]'::jsonb),
       (SELECT jsonb_object_agg(host_id, starting) FROM (
            SELECT placement.host_id, count(*) AS starting
              FROM tenants_operation AS operation
              JOIN tenants_placement AS placement
                ON placement.instance_id = operation.instance_id AND placement.until IS NULL
             WHERE operation.state = 'running' AND operation.verb <> 'remove'
             GROUP BY placement.host_id) AS work)
"""
_ROWS = f"""
SELECT id, int8send(id) || xidsend(tenants_host.xmin) || tidsend(tenants_host.ctid),
       name, state,
       capacity_cpu_millis, reserve_cpu_millis, capacity_memory_bytes, reserve_memory_bytes,
       capacity_disk_bytes, reserve_disk_bytes,
       booked_memory_bytes, booked_disk_bytes, placed, array_send(load), health,
       greatest(0, least({MOST_INSTANCES}, last_port - first_port + 1)), week.beyond
  FROM tenants_host LEFT JOIN tenants_hostweek AS week ON week.host_id = tenants_host.id
 WHERE state <> 'removed'
"""  # noqa: S608
# An array as PostgreSQL sends it: 20 bytes of head, then each element behind its length.
_ARRAY_HEAD = 20
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])


_STAMP = np.dtype([("id", ">i8"), ("xmin", ">u4"), ("block", ">u4"), ("offset", ">u2")])

_REPORT = np.dtype([("id", ">i8"), ("cpu", ">i8"), ("memory", ">i8")])

Stamps = npt.NDArray[np.void]
# id, stamp, name, state, capacities and reserves in turn, booked memory and disk, placed, load, health,
# the most instances, what its recorded week differs from the load.
Row = tuple[
    int,
    bytes,
    str,
    str,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    bytes,
    str,
    int,
    bytes | None,
]


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """The rows as last read, by id, and the stamps of the versions that were read.

    is_alive: what was found out about each host, which may be silent and alive or report and be lost.
    """

    stamps: Stamps
    view: PoolView
    capacity: F64
    is_alive: Bools


_lock = threading.Lock()
_kept: _Kept | None = None


def read() -> PoolView:
    """Return the pool as it is now: one query, and one more when hosts have changed since the last time."""
    global _kept  # noqa: PLW0603 - what this process keeps, swapped as a whole
    with connection.cursor() as cursor:
        cursor.execute(_STAMPS, {"fresh": FRESH_SECONDS})
        stamps, reports, conditions, starting = cursor.fetchone()
    with _lock:
        kept = _kept
    fresh = _refreshed(kept, np.frombuffer(bytes(stamps or b""), _STAMP))
    if fresh is not kept:
        with _lock:
            _kept = fresh
    return _with_reports(
        fresh,
        np.frombuffer(bytes(reports or b""), _REPORT),
        json.loads(conditions or "{}"),
        json.loads(starting or "{}"),
    )


def _refreshed(kept: _Kept | None, found: Stamps) -> _Kept:
    """Read what differs. Hosts that came or went make everything anew: that is rare."""
    if kept is None or len(found) != len(kept.stamps):
        return _built(_fetched(None))
    found = found[np.argsort(found["id"])]
    if not np.array_equal(found["id"], kept.stamps["id"]):
        return _built(_fetched(None))
    changed = np.flatnonzero(found != kept.stamps)
    if not len(changed):
        return kept
    rows = _fetched(found["id"][changed].tolist()) if len(changed) <= len(found) // 2 else []
    if len(rows) != len(changed):
        return _built(_fetched(None))
    return _patched(kept, changed, rows)


def _fetched(pks: Sequence[int] | None) -> list[Row]:
    where, wanted = ("", None) if pks is None else ("AND id = ANY(%s)", [list(pks)])
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROWS} {where} ORDER BY id", wanted)
        rows: list[Row] = cursor.fetchall()
    return rows


def _built(rows: Sequence[Row]) -> _Kept:
    count = len(rows)
    view = PoolView(
        ids=np.array([row[0] for row in rows], np.int64),
        names=tuple(row[2] for row in rows),
        is_open=_open(rows),
        is_seen=np.zeros(count, np.bool_),
        offered=_offered(rows),
        load=_loads(rows),
        busy=np.full((count, 2), -1, np.float32),
        starting=np.zeros(count, np.int64),
        instances=_placed(rows),
        most_instances=_most(rows),
        beyond=_weeks(rows),
    )
    return _Kept(_stamps(rows), view, _capacity(rows), _alive(rows))


def _patched(kept: _Kept, at: Ints, rows: Sequence[Row]) -> _Kept:
    """These rows in place of their older versions, in copies: somebody may still look at those."""
    view = kept.view
    if any(view.names[index] != row[2] for index, row in zip(at.tolist(), rows, strict=True)):
        return _built(_fetched(None))  # what hosts are called changes once in a lifetime
    return _Kept(
        _put(kept.stamps, at, _stamps(rows)),
        replace(
            view,
            is_open=_put(view.is_open, at, _open(rows)),
            offered=_put(view.offered, at, _offered(rows)),
            load=_put(view.load, at, _loads(rows)),
            instances=_put(view.instances, at, _placed(rows)),
            most_instances=_put(view.most_instances, at, _most(rows)),
            beyond=None if view.beyond is None else _put(view.beyond, at, _weeks(rows)),
        ),
        _put(kept.capacity, at, _capacity(rows)),
        _put(kept.is_alive, at, _alive(rows)),
    )


def _with_reports(
    kept: _Kept,
    reports: npt.NDArray[np.void],
    conditions: Mapping[str, Sequence[Mapping[str, str]]],
    starting: Mapping[str, int],
) -> PoolView:
    """Return what changes all the time, put beside what is kept."""
    ids = kept.view.ids
    is_seen = np.zeros(len(ids), np.bool_)
    busy = np.full((len(ids), 2), -1, np.float32)
    if len(ids):
        at = np.minimum(np.searchsorted(ids, reports["id"]), len(ids) - 1)
        known = ids[at] == reports["id"]
        at, reports = at[known], reports[known]
        is_seen[at] = kept.is_alive[at]
        busy[at, 0] = reports["cpu"] / kept.capacity[at, 0]
        busy[at, 1] = reports["memory"] / kept.capacity[at, 1]
    begun = np.zeros(len(ids), np.int64)
    for pk, count in starting.items():
        row = _row(ids, int(pk))
        if row is not None:
            begun[row] = count
    troubles = {
        row: trouble
        for pk, conditions_of_host in conditions.items()
        if (row := _row(ids, int(pk))) is not None
        and (trouble := _disk_trouble(conditions_of_host))
    }
    return replace(kept.view, is_seen=is_seen, busy=busy, starting=begun, disk_trouble=troubles)


def _row(ids: Ints, pk: int) -> int | None:
    at = int(np.searchsorted(ids, pk))
    return at if at < len(ids) and ids[at] == pk else None


def _disk_trouble(conditions: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(
        condition["message"] for condition in conditions if condition["kind"].startswith("disk_")
    )


def _stamps(rows: Sequence[Row]) -> Stamps:
    return np.frombuffer(b"".join(bytes(row[1]) for row in rows), _STAMP)


def _alive(rows: Sequence[Row]) -> Bools:
    return np.array([row[14] == HostHealth.ALIVE for row in rows], np.bool_)


def _open(rows: Sequence[Row]) -> Bools:
    # A lost host is closed: what it had room for is not to be had.
    return np.array(
        [row[3] == HostState.OPEN and row[14] != HostHealth.LOST for row in rows], np.bool_
    )


def _placed(rows: Sequence[Row]) -> Ints:
    return np.array([row[12] for row in rows], np.int64)


def _most(rows: Sequence[Row]) -> Ints:
    # Each has a port of its own.
    return np.array([row[15] for row in rows], np.int64)


def _capacity(rows: Sequence[Row]) -> F64:
    """Processor and memory of the whole machine, at least 1."""
    return np.array([(max(row[4], 1), max(row[6], 1)) for row in rows], np.float64).reshape(-1, 2)


def _offered(rows: Sequence[Row]) -> F64:
    """Capacity less reserve; the network is not counted."""
    amounts = [(row[4] - row[5], row[6] - row[7], row[8] - row[9], 0) for row in rows]
    return np.array(amounts, np.float64).reshape(-1, 4)


def _loads(rows: Sequence[Row]) -> F32:
    found = np.zeros((len(rows), LOAD_WIDTH), np.float32)
    for index, row in enumerate(rows):
        stored = array_values(row[13])
        if len(stored):  # empty: nothing was ever placed there
            found[index, :SHAPE_WIDTH] = stored[:SHAPE_WIDTH]
            found[index, CPU_SQUARE.start :] = stored[SHAPE_WIDTH:]
        found[index, MEMORY], found[index, DISK] = row[10], row[11]
    return np.asfortranarray(found)  # as it is read: hour by hour


def _weeks(rows: Sequence[Row]) -> F32:
    """Return what recorded weeks differ from the daily shapes; not a number where none was folded yet."""
    found = np.full((len(rows), HISTORY_WIDTH), np.nan, np.float32)
    for index, row in enumerate(rows):
        if not row[12]:
            found[index] = 0.0
        elif row[16] is not None and len(row[16]) == found[index].nbytes:
            found[index] = np.frombuffer(row[16], np.float32)
    return found


def array_values(sent: bytes) -> F64:
    """Return the numbers of a float8[] as array_send gives it."""
    raw = bytes(sent)
    if len(raw) <= _ARRAY_HEAD:
        return np.zeros(0)
    values: F64 = np.frombuffer(raw, _ELEMENT, offset=_ARRAY_HEAD)["value"].astype(np.float64)
    return values


_T = TypeVar("_T", bound=npt.NDArray[Any])


def _put(old: _T, at: Ints, new: npt.NDArray[Any]) -> _T:
    copy = old.copy(order="K")
    copy[at] = new
    return copy


def pool_slots() -> int:
    """Start slots of the whole pool; one host's at least, so that somebody finds out why."""
    return DEFAULT.starts_per_host * max(1, line.hosts_heard(FRESH_SECONDS))
