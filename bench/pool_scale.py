"""How fast the record places and plans, with 200,000 instances on 2,000 hosts in a real PostgreSQL.

Claims: one placement, reading the pool and booking included, takes at most 10 ms at the 99th percentile;
5,000 a second are decided together, as drains and forecasts do; a rebalance plan takes at most 10 s; all of
it in 1 GB.

    python -m bench.pool_scale [--quick] [--json FILE]

The database is the bench's own and gone afterwards. Before every timed placement other workers' bookings
and reports are written, as they are in a pool that lives. Beside it, in the same run: the pool read row by
row into objects, as one would write it first. The query plans are looked at: no statement on this way may
read through all instances or placements.
"""

import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common, pool_record
from bench.parts.common import percentile, said
from bench.parts.options import Parser

TARGET_MS = 10.0
TARGET_RATE = 5000.0
TARGET_PLAN_SECONDS = 10.0
TARGET_BYTES = 1024**3
HOSTS, INSTANCES = 2_000, 200_000


@dataclass
class Found:
    """Everything that was measured."""

    place_ms: tuple[float, ...] = ()
    decide_ms: tuple[float, ...] = ()
    busy_ms: tuple[float, ...] = ()
    naive_ms: tuple[float, ...] = ()
    bulk_rate: float = 0.0
    bulk_count: int = 0
    scans: tuple[str, ...] = ()
    plan_seconds: float | None = None
    plan_moves: int = 0
    fold_ms: tuple[float, ...] = ()
    memory_bytes: int = 0


def main(argv: Sequence[str]) -> int:
    """Measure, print, and tell by the exit code whether the claims hold (0) or not (1)."""
    parser = Parser(__doc__, quick="40,000 instances on 2,000 hosts", is_root=False)
    options = parser.read(argv)
    instances, rounds, together = (
        (40_000, 200, 5_000) if options.quick else (INSTANCES, 1000, 20_000)
    )
    facts = common.machine()
    found = Found()
    with pool_record.database():
        with said(f"filling PostgreSQL with {instances:,} instances on {HOSTS:,} hosts"):
            pool_record.fill(HOSTS, instances)
        _forget_peak_memory()
        _measure(found, rounds, together)
    _show(found, instances)
    common.write_json(
        options.json,
        {"machine": asdict(facts), "hosts": HOSTS, "instances": instances, **asdict(found)},
    )
    verdicts = _verdicts(found)
    print()
    for text, met in verdicts.items():
        print(f"{'met   ' if met else 'MISSED'}  {text}")
    return 0 if all(verdicts.values()) else 1


def _measure(found: Found, rounds: int, together: int) -> None:
    newcomers = _sign_up(rounds + 300 + together)
    gc.collect()
    gc.freeze()  # those who wait here would lie in the database, not in a worker's memory
    with said(f"{rounds} placements one by one"):
        found.decide_ms, found.place_ms, found.busy_ms = _one_by_one(newcomers[:rounds])
    with said("the same the naive way"):
        found.naive_ms = _naive(newcomers[rounds : rounds + 20])
    with said(f"{together:,} placements decided together"):
        found.bulk_count, seconds = _together(newcomers[-together:])
        found.bulk_rate = found.bulk_count / seconds
    with said("a rebalance plan"):
        found.plan_seconds, found.plan_moves = _rebalance_plan()
    with said("an hour's usage of single hosts folded"):
        found.fold_ms = _fold(20)
    with said("query plans"):
        found.scans = tuple(_scans())
    found.memory_bytes = _peak_memory()


def _sign_up(count: int) -> list[Any]:
    """Instances without a place, with all that placing them reads."""
    from django.db import connection

    from tenants.shops.models import Instance

    with connection.cursor() as cursor:
        cursor.execute(_NEWCOMERS, [count])
    found = Instance.objects.filter(tenant__state="requested").order_by("pk")
    return list(found.select_related("release", "tenant__plan"))


_NEWCOMERS = """
INSERT INTO tenants_tenant (public_id, slug, shop_name, language, plan_id, app_id, state, fence)
SELECT 'ten_new' || n, 'new-' || n, 'New ' || n, 'en',
       (SELECT id FROM tenants_plan), (SELECT id FROM tenants_app), 'requested', 1
  FROM generate_series(1, %s) AS n;
INSERT INTO tenants_instance (public_id, tenant_id, ordinal, release_id, state)
SELECT 'ins_' || substr(public_id, 5), id, 0, (SELECT id FROM tenants_release), 'requested'
  FROM tenants_tenant WHERE state = 'requested';
ANALYZE tenants_instance;
"""
# What others do meanwhile: a few hosts get or lose something, many report.
_OTHERS = """
UPDATE tenants_host SET booked_disk_bytes = booked_disk_bytes + 1
 WHERE id = ANY(ARRAY(SELECT (random() * 1999)::int + 1 FROM generate_series(1, 4)));
UPDATE tenants_hostreport SET sequence = sequence + 1, used_cpu_millis = used_cpu_millis
 WHERE host_id = ANY(ARRAY(SELECT (random() * 1999)::int + 1 FROM generate_series(1, 20)));
"""


def _one_by_one(newcomers: Sequence[Any]) -> tuple[tuple[float, ...], ...]:
    """Milliseconds to read the pool and decide; the same with the booking written down; and how much of
    that this process and its PostgreSQL were at work, which others on the machine do not change.
    """
    from workers.pool import mapping, reader
    from workers.scheduler import place

    reader.read()
    backend = Path(f"/proc/{_backend()}/schedstat")
    decide, whole, busy = [], [], []
    for instance in newcomers:
        _others()
        worked = _worked(backend)
        began = time.perf_counter()
        booking = _booking(instance)
        decision = place(mapping.view_of(instance, booking), reader.read())
        decide.append((time.perf_counter() - began) * 1000)
        _reserve(instance, booking, decision)
        whole.append((time.perf_counter() - began) * 1000)
        busy.append(_worked(backend) - worked)
    return tuple(decide), tuple(whole), tuple(busy)


def _backend() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _worked(backend: Path) -> float:
    """Milliseconds of processor time of this process and of the server's for it."""
    return (time.process_time_ns() + int(backend.read_text().split()[0])) / 1e6


def _naive(newcomers: Sequence[Any]) -> tuple[float, ...]:
    """The same with a model object per host and nothing kept."""
    from tenants.pool.models import Host
    from tests.pools import host_views
    from workers.pool import mapping
    from workers.scheduler import PoolView, place

    times = []
    for instance in newcomers:
        _others()
        began = time.perf_counter()
        booking = _booking(instance)
        hosts = host_views(Host.objects.select_related("report"))
        decision = place(mapping.view_of(instance, booking), PoolView.of(hosts))
        _reserve(instance, booking, decision)
        times.append((time.perf_counter() - began) * 1000)
    return tuple(times)


def _together(newcomers: Sequence[Any]) -> tuple[int, float]:
    """How many found a host, decided together on the pool as it is, and the seconds that took."""
    from workers.pool import mapping, reader
    from workers.scheduler.place_batch import place_all

    began = time.perf_counter()
    booking = _booking(newcomers[0])
    placed = place_all([mapping.view_of(one, booking) for one in newcomers], reader.read())
    seconds = time.perf_counter() - began
    if placed.left:
        print(f" ({placed.left} without a place: {placed.refusals[:1]})", end="")
    return len(newcomers) - placed.left, seconds


def _rebalance_plan() -> tuple[float, int]:
    """Seconds to read the pool and what is on hosts that are hot or cold, and to plan; and the moves."""
    from django.db import connection

    from workers.pool import reader
    from workers.reconcilers import rebalancing

    with connection.cursor() as cursor:
        cursor.execute(_HEAT)
    began = time.perf_counter()
    found, hot = rebalancing.look(reader.read(), budget=200)
    seconds = time.perf_counter() - began
    if not hot or not found.moves:
        raise SystemExit("twenty hosts are too full, and no move was planned")
    return seconds, len(found.moves)


# Twenty hosts turn out to have less memory than what is on them needs.
_HEAT = """
UPDATE tenants_host SET capacity_memory_bytes = booked_memory_bytes * 9 / 10
 WHERE id IN (SELECT id FROM tenants_host WHERE placed > 10 ORDER BY id LIMIT 20);
UPDATE tenants_placement SET since = since - interval '1 day'
 WHERE host_id IN (SELECT id FROM tenants_host ORDER BY id LIMIT 60);
"""


def _fold(hosts: int) -> tuple[float, ...]:
    """Milliseconds for each host to learn from an hour of windows and to book its instances anew."""
    from django.db import connection

    from workers.usage import rollup

    with connection.cursor() as cursor:
        cursor.execute(_USAGE, [hosts])
        cursor.execute("SELECT DISTINCT host_id FROM tenants_hostusage")
        due = [pk for (pk,) in cursor.fetchall()]
    times = []
    for pk in due:
        began = time.perf_counter()
        rollup.fold_host(pk)
        times.append((time.perf_counter() - began) * 1000)
    return tuple(times)


_USAGE = """
INSERT INTO tenants_hostusage (host_id, at, samples, source, is_folded, "window")
SELECT host.id, date_trunc('hour', statement_timestamp()) - interval '1 hour'
       - (5 * n) * interval '1 minute', '[]', 'bench:' || n, false,
       jsonb_build_object(
           'number', n, 'seconds', 300.0, 'age_seconds', 0.0,
           'instance_ids', jsonb_agg(instance.public_id),
           'cpu_micros', jsonb_agg(40000), 'cpu_peak_micros', jsonb_agg(90000),
           'memory_peak_bytes', jsonb_agg(600000000), 'tx_bytes', jsonb_agg(90000),
           'disk_bytes', jsonb_agg(2000000), 'oom_kills', jsonb_agg(0))
  FROM (SELECT id FROM tenants_host WHERE placed > 10 ORDER BY id DESC LIMIT %s) AS host
  JOIN tenants_placement AS placement ON placement.host_id = host.id
  JOIN tenants_instance AS instance ON instance.id = placement.instance_id,
       generate_series(0, 11) AS n
 GROUP BY host.id, n
"""


def _booking(instance: Any) -> Any:
    from tenants.placement import bookings

    return bookings.cold_booking(instance.release, instance.tenant.plan)


def _reserve(instance: Any, booking: Any, decision: Any) -> None:
    from tenants.placement import placements

    for host_id in decision.candidates:
        if placements.reserve(instance, host_id, booking, reasons=list(decision.reasons)):
            return
    raise SystemExit("a pool with room took nothing")


def _others() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(_OTHERS)


def _scans() -> list[str]:
    """Statements of a placement that would read through a table that grows with the tenants."""
    from workers.pool import mapping, reader

    found: list[str] = []

    def look(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                found.extend(
                    f"{table}: {' '.join(sql.split())[:80]}"
                    for table in _scanned(cursor.fetchone()[0][0]["Plan"])
                    if table in {"tenants_instance", "tenants_placement", "tenants_tenant"}
                )
        return execute(sql, params, many, context)

    from django.db import connection

    newcomer = _sign_up_one()
    with connection.execute_wrapper(look):
        reader._kept = None  # noqa: SLF001 - the next reading is a first one
        booking = _booking(newcomer)
        from workers.scheduler import place

        _reserve(newcomer, booking, place(mapping.view_of(newcomer, booking), reader.read()))
    return found


def _sign_up_one() -> Any:
    from tenants.shops.models import Instance

    placed = Instance.objects.filter(tenant__state="requested", placements=None)
    return placed.select_related("release", "tenant__plan").order_by("pk")[0]


def _scanned(plan: dict[str, Any]) -> list[str]:
    own = [plan["Relation Name"]] if plan["Node Type"] == "Seq Scan" else []
    return own + [name for part in plan.get("Plans", ()) for name in _scanned(part)]


def _forget_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _show(found: Found, instances: int) -> None:
    head = (f"{instances:,} instances, {HOSTS:,} hosts", "p50 ms", "p99 ms", "worst ms")
    rows = [
        (name, f"{percentile(ms, 0.5):.2f}", f"{percentile(ms, 0.99):.2f}", f"{max(ms):.2f}")
        for name, ms in (
            ("read the pool and decide", found.decide_ms),
            ("… and book, with its decision", found.place_ms),
            ("  of which at work", found.busy_ms),
            ("row by row", found.naive_ms),
        )
    ]
    print("\n" + common.table(head, rows))
    print(f"\ntogether: {found.bulk_count:,} decided at {found.bulk_rate:,.0f} a second")
    if found.plan_seconds is not None:
        print(f"rebalance: {found.plan_moves} moves planned in {found.plan_seconds:.2f} s")
    each = percentile(found.fold_ms, 0.5)
    print(
        f"folding: {each:.0f} ms for an hour of a host, {each * HOSTS / 1000:.0f} s of one worker "
        f"in each hour for {HOSTS:,} hosts"
    )
    print(f"memory: {found.memory_bytes / 1024**2:.0f} MiB at most")
    for scan in found.scans:
        print(f"reads through {scan}")


def _verdicts(found: Found) -> dict[str, bool]:
    p99 = percentile(found.place_ms, 0.99)
    verdicts = {
        f"one placement p99 {p99:.1f} ms, at most {TARGET_MS:g}": p99 <= TARGET_MS,
        f"{found.bulk_rate:,.0f} decided a second together, at least {TARGET_RATE:,.0f}": (
            found.bulk_rate >= TARGET_RATE
        ),
        f"memory {found.memory_bytes / 1024**2:.0f} MiB, at most 1,024": (
            found.memory_bytes <= TARGET_BYTES
        ),
        "no statement reads through all instances": not found.scans,
    }
    if found.plan_seconds is not None:
        verdicts[f"rebalance plan {found.plan_seconds:.1f} s, at most {TARGET_PLAN_SECONDS:g}"] = (
            found.plan_seconds <= TARGET_PLAN_SECONDS
        )
    return verdicts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
