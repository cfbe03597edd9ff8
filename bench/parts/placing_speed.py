"""How fast the scheduler is: 200,000 made-up instances on 2,000 hosts, without a database."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.parts.common import percentile
from bench.research.sums import histories_by_host, loads_by_host
from workers import scheduler
from workers.scheduler.demand_vector import CPU, F32, flat
from workers.scheduler.place_batch import place_all
from workers.scheduler.profiles.history import beyond
from workers.scheduler.profiles.log_quantizer import encode
from workers.scheduler.profiles.usage_profile import SLOTS, Profiles, demands, unmeasured
from workers.scheduler.types import InstanceView, PoolView

TARGET_PLACE_MS = 10.0
TARGET_RATE = 5_000.0
TARGET_MEMORY_BYTES = 1_000_000_000
HOSTS = 2_000
INSTANCES = 200_000
_CHUNK = 20_000
# What each made-up shop was sold, in the order of demand_vector.RESOURCES.
_SOLD = np.array([1000, 64 << 20, 256 << 20, 0], np.float32)


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one placement (by daily shapes, and with summed histories), placements a second in
    bulk, seconds to work out all demands, and the most memory the process ever had.

    Times are the processor's: a decision waits for nothing, and what neighbours do is no result.
    """

    shapes_p50_ms: float
    shapes_p99_ms: float
    histories_p50_ms: float
    histories_p99_ms: float
    bulk_per_second: float
    demands_seconds: float
    memory_bytes: int


def measure_speed(*, repeats: int, instances: int = INSTANCES, hosts: int = HOSTS) -> Speed:
    """Made-up profiles, measured for a week, on hosts that are about three quarters full."""
    profiles = made_up(instances)
    started = time.thread_time()
    expected = _demands(profiles)
    demands_seconds = time.thread_time() - started
    at = np.arange(instances) % hosts
    summed = np.zeros((hosts, 2 * SLOTS), np.float32)
    for start in range(0, instances, _CHUNK):
        part = slice(start, min(start + _CHUNK, instances))
        own = beyond(profiles[part], expected[part], _sold(part.stop - part.start))
        summed += histories_by_host(own, at[part], hosts)
    pool = _pool(loads_by_host(expected, at, hosts), summed, instances // hosts)
    new = profiles[:64], expected[:64]
    own = beyond(*new, _sold(64))
    by_shape = [InstanceView(f"ins_{row}", new[1][row]) for row in range(64)]
    by_history = [InstanceView(f"ins_{row}", new[1][row], own[row]) for row in range(64)]
    shapes, deep = _place_ms(by_shape, pool, repeats), _place_ms(by_history, pool, repeats)
    return Speed(
        shapes_p50_ms=round(percentile(shapes, 0.5), 3),
        shapes_p99_ms=round(percentile(shapes, 0.99), 3),
        histories_p50_ms=round(percentile(deep, 0.5), 3),
        histories_p99_ms=round(percentile(deep, 0.99), 3),
        bulk_per_second=round(_bulk_rate(expected, pool)),
        demands_seconds=round(demands_seconds, 2),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def made_up(count: int) -> Profiles:
    """Shops: little by night, more by day, each with its own busiest hour and size; always the same."""
    dice = np.random.default_rng(7)
    profiles = unmeasured(count)
    profiles["newest"], profiles["hours"] = 480_000, SLOTS
    profiles["memory"] = dice.lognormal(16.5, 0.6, count)[:, None]
    profiles["disk"] = dice.lognormal(14.0, 1.0, count)
    hour = np.arange(SLOTS)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        rows = part.stop - part.start
        size = dice.lognormal(3.0, 1.0, (rows, 1))
        shape = 1.1 + np.cos((hour - dice.normal(20, 3, (rows, 1))) * 2 * np.pi / 24)
        cpu = size * shape * dice.lognormal(0.0, 0.3, (rows, SLOTS))
        profiles["cpu_mean"][part] = encode(cpu)
        profiles["cpu_swing"][part] = encode(cpu * 0.7)
        profiles["net_mean"][part] = encode(cpu * 0.1)
        profiles["net_swing"][part] = encode(cpu * 0.1)
    return profiles


def _demands(profiles: Profiles) -> F32:
    cold = np.broadcast_to(flat(1000, 64 << 20, 16 << 20), (len(profiles), 98))
    ceilings = np.broadcast_to(_SOLD, (len(profiles), 4))
    return demands(profiles, cold, ceilings)


def _sold(count: int) -> F32:
    return np.full(count, _SOLD[CPU], np.float32)


def _pool(load: F32, summed: F32, each: int) -> PoolView:
    count = len(load)
    return PoolView(
        ids=np.arange(count, dtype=np.int64),
        names=tuple(f"host-{row}" for row in range(count)),
        is_open=np.ones(count, np.bool_),
        is_seen=np.ones(count, np.bool_),
        offered=np.tile([16_000.0, 8.0 * 1024**3, 100.0 * 1024**3, 0.0], (count, 1)),
        load=np.asfortranarray(load),
        beyond=summed,
        busy=np.full((count, 2), 0.5, np.float32),
        starting=np.zeros(count, np.int64),
        instances=np.full(count, each, np.int64),
        most_instances=np.full(count, 2000, np.int64),
    )


def _place_ms(views: Sequence[InstanceView], pool: PoolView, repeats: int) -> list[float]:
    found = []
    for number in range(repeats):
        started = time.thread_time()
        scheduler.place(views[number % len(views)], pool)
        found.append((time.thread_time() - started) * 1000)
    return found


def _bulk_rate(expected: F32, pool: PoolView) -> float:
    """A burst of 5,000 on the pool as it is."""
    burst = [InstanceView(f"ins_{row}", expected[row]) for row in range(5_000)]
    started = time.thread_time()
    placed = place_all(burst, pool)
    seconds = time.thread_time() - started
    if placed.left:
        raise SystemExit("the made-up pool has no room for 5,000 more: the rate would mean nothing")
    return len(burst) / seconds


HEAD = (f"{INSTANCES:,} instances, {HOSTS:,} hosts; processor time", "p50", "p99")


def rows(speed: Speed) -> list[tuple[str, ...]]:
    return [
        (
            "one placement by daily shapes, ms",
            f"{speed.shapes_p50_ms:.2f}",
            f"{speed.shapes_p99_ms:.2f}",
        ),
        (
            "… with summed histories, ms",
            f"{speed.histories_p50_ms:.2f}",
            f"{speed.histories_p99_ms:.2f}",
        ),
        ("placements a second in bulk", f"{speed.bulk_per_second:,.0f}", "–"),
        ("all demands from profiles, s", f"{speed.demands_seconds:.1f}", "–"),
        ("memory of the process, MB", f"{speed.memory_bytes / 1e6:.0f}", "–"),
    ]


def verdicts(speed: Speed) -> dict[str, bool]:
    worst = max(speed.shapes_p99_ms, speed.histories_p99_ms)
    return {
        f"one placement, p99 {worst:.1f} ms of processor (claim: at most 10)": worst
        <= TARGET_PLACE_MS,
        f"{speed.bulk_per_second:,.0f} placements a second of processor in bulk (claim: 5,000)": (
            speed.bulk_per_second >= TARGET_RATE
        ),
        f"{speed.memory_bytes / 1e6:.0f} MB (claim: at most 1,000)": (
            speed.memory_bytes <= TARGET_MEMORY_BYTES
        ),
    }
