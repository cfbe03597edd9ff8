"""Where shops go, and what that would have cost: the scheduler on a recorded trace, and its speed at scale.

Claim in the README: on a month of 250 companies' servers (Bitbrains) it needs no more than nine large
hosts where limits need 22, and no host is ever short of processor; one placement over 2,000 hosts
takes milliseconds.

    python -m bench.scheduler [--quick] [--json FILE] [--traces DIR]

Every rule learns one week and is looked at in the next one, three times, on hosts of 32 x 2.6 GHz and
128 GiB and on hosts of half that size. Nothing is moved in between: what rebalancing adds is shown
apart, over all four weeks from a cold start. Speed is measured on 200,000 made-up instances.

The trace may not be copied into this repository. Get GWA-T-12 "Rnd" from the Grid Workloads Archive
(gwa.ewi.tudelft.nl/datasets/gwa-t-12-bitbrains) and put vms.csv, cpu_mhz.csv.gz and mem_mib.csv.gz
(a row per machine: its number, then a value per five minutes) into DIR/bitbrains.
"""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench.parts import common
from bench.parts.common import percentile, said
from bench.parts.options import Parser
from bench.research import traces
from bench.research.compare import HostSize, Ours, Row, compare
from bench.research.living import Life, live
from bench.research.outcome import Outcome, outcome
from bench.research.sums import histories_by_host, loads_by_host
from bench.research.traces import Trace
from workers import scheduler
from workers.scheduler.demand_vector import DEFAULT, F32, flat
from workers.scheduler.place_batch import place_all
from workers.scheduler.profiles.history import beyond
from workers.scheduler.profiles.log_quantizer import encode
from workers.scheduler.profiles.usage_profile import SLOTS, Profiles, demands, unmeasured
from workers.scheduler.types import InstanceView, PoolView

LARGE = HostSize(cpu_millis=32_000.0, memory_bytes=128.0 * 1024**3)
HALF = HostSize(cpu_millis=16_000.0, memory_bytes=64.0 * 1024**3)
MOST_SPLITS = 3
OURS = "ours, in bulk"
IN_ORDER = "large hosts, as in the trace"

TARGET_HOSTS = 9
TARGET_OVERLOADED = 0.0001
TARGET_PLACE_MS = 10.0
TARGET_RATE = 5_000.0
TARGET_MEMORY_BYTES = 1_000_000_000
_CLAIMED_OF = 250
_HOSTS = 2_000
_INSTANCES = 200_000
_CHUNK = 20_000


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


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    parser = Parser(__doc__, quick="large hosts and fewer repeats only", is_root=False)
    parser.add_argument("--traces", default="../shared/data", metavar="DIR", help="recorded traces")
    options = parser.read(argv)
    facts = common.machine()
    # First: the trace would count as memory of the scheduler.
    with said(f"{_INSTANCES:,} instances on {_HOSTS:,} hosts"):
        speed = measure_speed(repeats=100 if options.quick else 1000)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    print(common.table(_SPEED_HEAD, _speed_rows(speed)))
    verdicts = _speed_verdicts(speed)
    result: dict[str, object] = {"machine": asdict(facts), "speed": asdict(speed)}
    trace = _trace(Path(options.traces) / "bitbrains")
    if trace is not None:
        if trace.weeks_in_all < 2:
            parser.exit(
                2,
                f"{options.traces}/bitbrains holds {trace.weeks_in_all} whole weeks; two are needed\n",
            )
        found = _bitbrains(trace, quick=options.quick)
        result["bitbrains"] = {
            size: {name: [asdict(row) for row in rows] for name, rows in by_rule.items()}
            for size, by_rule in found.items()
        }
        result["frontier"] = _print_frontier(trace, found["large"])
        lives = _print_lives(trace, quick=options.quick)
        result["living"] = {name: asdict(life) for name, life in lives.items()}
        if len(trace) != _CLAIMED_OF:
            print(f"{len(trace)} machines: the README's claim is of the {_CLAIMED_OF} of Bitbrains")
        elif not options.quick:
            verdicts |= _living_verdicts(lives)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    common.write_json(options.json, result | {"targets": verdicts})
    return 0 if all(verdicts.values()) else 1


def _trace(directory: Path) -> Trace | None:
    if not (directory / "vms.csv").exists():
        print(f"\nBitbrains: skipped, there is no {directory}/vms.csv (how to get it: --help)")
        return None
    return traces.bitbrains(directory)


# --- the trace ---------------------------------------------------------------------------------


def _splits(trace: Trace) -> range:
    """Weeks that are learned, each of which another one follows."""
    return range(1, min(MOST_SPLITS, trace.weeks_in_all - 1) + 1)


def _sizes(trace: Trace) -> dict[str, HostSize]:
    """Both host sizes, larger where a machine of the trace was sold more than one of them has."""
    largest = trace.ceilings.max(axis=0)
    return {
        name: HostSize(
            max(size.cpu_millis, float(largest[0])), max(size.memory_bytes, float(largest[1]))
        )
        for name, size in (("large", LARGE), ("half", HALF))
    }


def _bitbrains(trace: Trace, *, quick: bool) -> dict[str, dict[str, list[Row]]]:
    found: dict[str, dict[str, list[Row]]] = {}
    for name, size in _sizes(trace).items():
        if quick and name != "large":
            continue
        by_rule = found.setdefault(name, {})
        with said(f"{len(_splits(trace))} splits on {name} hosts"):
            for week in _splits(trace):
                seen, after = trace.weeks(week, week), trace.weeks(week + 1, week + 1)
                for row in compare(seen, after, size):
                    by_rule.setdefault(row.name, []).append(row)
        print(f"\nBitbrains, {name} hosts ({size.cpu_millis / 1000:.0f} cores)")
        print(common.table(_RULE_HEAD, [_rule_row(rule, rows) for rule, rows in by_rule.items()]))
        print()
    return found


def _print_frontier(
    trace: Trace, by_rule: dict[str, list[Row]]
) -> dict[str, list[dict[str, object]]]:
    """What one host fewer, or one more, would do to our own plan."""
    rows, kept = [], {}
    size = _sizes(trace)["large"]
    needed = max(row.outcome.hosts for row in by_rule[OURS])
    for count in range(max(1, needed - 2), needed + 2):
        found = []
        for week in _splits(trace):
            hosts = Ours.of(trace.weeks(week, week), size).on(count)
            after = trace.weeks(week + 1, week + 1)
            found.append(outcome(after, hosts, size.cpu_millis, size.memory_bytes))
        kept[str(count)] = [asdict(one) for one in found]
        rows.append((f"evened out on {count}", *_outcome_cells(found)))
    print("Bitbrains, large hosts: our plan on a given number of them")
    print(common.table(_RULE_HEAD[:-1], rows))
    return kept


def _print_lives(trace: Trace, *, quick: bool) -> dict[str, Life]:
    """The product's own way from a cold start: by week, in the trace's order and in a shuffled one."""
    kept, rows = {}, []
    shuffled = np.random.default_rng(1).permutation(len(trace)).tolist()
    orders = {"as in the trace": None} if quick else {"as in the trace": None, "shuffled": shuffled}
    weeks = trace.weeks(1, 1 if quick else trace.weeks_in_all)
    for size_name, size in _sizes(trace).items():
        for order_name, order in orders.items():
            if quick and size_name != "large":
                continue
            name = f"{size_name} hosts, {order_name}"
            with said(f"living: {name}"):
                count = _hosts_at_first(trace, size)
                life = live(weeks, size, count, every_hours=6 if quick else 1, arrival=order)
            kept[name] = life
            rows.append((name, *_life_cells(life)))
    print("\nBitbrains from a cold start, one by one, the product's own way, by week")
    print(common.table(_LIFE_HEAD, rows))
    return kept


_LIFE_HEAD = (
    "", "hosts, mean", "at most", "overloaded %", "moves", "of one", "longest round ms",
)  # fmt: skip


def _hosts_at_first(trace: Trace, size: HostSize) -> int:
    """What limits ask for below the share that is planned with, and a fifth more for what is left over."""
    limits = np.array([size.cpu_millis, size.memory_bytes]) * np.array(DEFAULT.shares[:2])
    sold = np.minimum(trace.ceilings[:, :2], 0.99 * limits)
    return int(np.ceil(1.2 * (sold.sum(axis=0) / limits).max())) + 1


def _life_cells(life: Life) -> tuple[str, ...]:
    weeks = life.weeks
    return (
        " / ".join(f"{one.hosts:.1f}" for one in weeks),
        " / ".join(str(one.most_hosts) for one in weeks),
        " / ".join(f"{100 * one.overloaded:.4f}" for one in weeks),
        " / ".join(str(one.moves) for one in weeks),
        " / ".join(str(one.most_moves) for one in weeks),
        f"{life.round_ms:.0f}",
    )


_RULE_HEAD = ("rule", "hosts", "overloaded host-slots %", "seconds", "unmet %", "ms each")


def _rule_row(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    each = max(row.decision_ms for row in rows)
    return (name, *_outcome_cells([row.outcome for row in rows]), f"{each:.2f}")


def _outcome_cells(found: Sequence[Outcome]) -> tuple[str, ...]:
    return (
        " / ".join(str(one.hosts) for one in found),
        " / ".join(f"{100 * one.overloaded:.3f}" for one in found),
        " / ".join(str(one.overload_seconds) for one in found),
        " / ".join(f"{100 * one.unmet:.3f}" for one in found),
    )


def _living_verdicts(lives: dict[str, Life]) -> dict[str, bool]:
    """What the product's own way reaches after its first week."""
    weeks = lives[IN_ORDER].weeks[1:]
    hosts = "/".join(str(one.most_hosts) for one in weeks)
    worst = max(one.overloaded for one in weeks)
    moves = max(one.moves for one in weeks)
    return {
        f"living: {hosts} large hosts at most (aim: {TARGET_HOSTS})": all(
            one.most_hosts <= TARGET_HOSTS for one in weeks
        ),
        f"living: at most {100 * worst:.4f} % of host-windows overloaded (aim: 0.01 %)": (
            worst <= TARGET_OVERLOADED
        ),
        f"living: at most {moves} moves in a week (aim: {_CLAIMED_OF}, one for each machine)": (
            moves <= _CLAIMED_OF
        ),
        "living: no host short of memory": all(one.short_of_memory == 0.0 for one in weeks),
    }


# --- speed -------------------------------------------------------------------------------------


def measure_speed(*, repeats: int, instances: int = _INSTANCES, hosts: int = _HOSTS) -> Speed:
    """Made-up profiles, measured for a week, on hosts that are about three quarters full."""
    profiles = made_up(instances)
    started = time.thread_time()
    expected = _demands(profiles)
    demands_seconds = time.thread_time() - started
    at = np.arange(instances) % hosts
    summed = np.zeros((hosts, 2 * SLOTS), np.float32)
    for start in range(0, instances, _CHUNK):
        part = slice(start, start + _CHUNK)
        summed += histories_by_host(beyond(profiles[part], expected[part]), at[part], hosts)
    pool = _pool(loads_by_host(expected, at, hosts), summed, instances // hosts)
    new = profiles[:64], expected[:64]
    own = beyond(*new)
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
    ceilings = np.broadcast_to(
        np.array([1000, 64 << 20, 256 << 20, 0], np.float32), (len(profiles), 4)
    )
    return demands(profiles, cold, ceilings)


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
        zones=np.arange(count, dtype=np.int64) % 3,
        zone_names=("a", "b", "c"),
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


_SPEED_HEAD = (f"{_INSTANCES:,} instances, {_HOSTS:,} hosts; processor time", "p50", "p99")


def _speed_rows(speed: Speed) -> list[tuple[str, ...]]:
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


def _speed_verdicts(speed: Speed) -> dict[str, bool]:
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


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
