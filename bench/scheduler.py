"""Where shops go, and what that would have cost: the scheduler on a recorded trace, and its speed at scale.

Claim in the README: a month of 250 companies' servers (Bitbrains), placed one by one and unmeasured, needs
no more than nine large hosts after the first week where limits need 22, with at most 0.01 % of host-windows
overloaded and one move a week for each server; one placement over 2,000 hosts takes milliseconds.

    python -m bench.scheduler [--quick] [--json FILE] [--traces DIR]

Every rule learns one week and is looked at in the next one, three times, on hosts of 32 x 2.6 GHz and
128 GiB and on hosts of half that size; nothing is moved in between. The product's own way is shown apart,
over all four weeks from a cold start; then what the rules of others need at the same overload. With
--quick it is a week in steps of six hours, on large hosts. Speed is measured on 200,000 made-up instances.

The trace may not be copied into this repository. Get GWA-T-12 "Rnd" from the Grid Workloads Archive
(gwa.ewi.tudelft.nl/datasets/gwa-t-12-bitbrains) and put vms.csv, cpu_mhz.csv.gz and mem_mib.csv.gz
(a row per machine: its number, then a value per five minutes) into DIR/bitbrains.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench.parts import common, placing_speed
from bench.parts.common import said
from bench.parts.options import Parser
from bench.research import traces
from bench.research.compare import HostSize, Ours, Row, compare
from bench.research.frontier import fewest_at, points, weighted
from bench.research.living import Life, live
from bench.research.outcome import Outcome, outcome
from bench.research.traces import Trace
from workers.scheduler.demand_vector import DEFAULT

LARGE = HostSize(cpu_millis=32_000.0, memory_bytes=128.0 * 1024**3)
HALF = HostSize(cpu_millis=16_000.0, memory_bytes=64.0 * 1024**3)
MOST_SPLITS = 3
OURS = "ours, in bulk"
IN_ORDER = "large hosts, as in the trace"

TARGET_HOSTS = 9
TARGET_OVERLOADED = 0.0001
_CLAIMED_OF = 250


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    parser = Parser(
        __doc__, quick="a week in steps of six hours, on large hosts only", is_root=False
    )
    parser.add_argument("--traces", default="../shared/data", metavar="DIR", help="recorded traces")
    options = parser.read(argv)
    facts = common.machine()
    # First: the trace would count as memory of the scheduler.
    with said(f"{placing_speed.INSTANCES:,} instances on {placing_speed.HOSTS:,} hosts"):
        speed = placing_speed.measure_speed(repeats=100 if options.quick else 1000)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    print(common.table(placing_speed.HEAD, placing_speed.rows(speed)))
    verdicts = placing_speed.verdicts(speed)
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
        if not options.quick:
            result["frontier"] = _print_frontier(trace, found["large"])
        lives = _print_lives(trace, quick=options.quick)
        result["living"] = {name: asdict(life) for name, life in lives.items()}
        if not options.quick:
            verdicts |= _beside_others(trace, lives)
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
    """Both host sizes, larger where a machine of the trace *used* more than may be planned with of one."""
    cpu, memory = (float(np.nanmax(used)) for used in (trace.cpu, trace.memory))
    return {
        name: HostSize(
            max(size.cpu_millis, cpu / DEFAULT.shares[0]), max(size.memory_bytes, 1.15 * memory)
        )
        for name, size in (("large", LARGE), ("half", HALF))
    }


def _bitbrains(whole: Trace, *, quick: bool) -> dict[str, dict[str, list[Row]]]:
    found: dict[str, dict[str, list[Row]]] = {}
    for name, size in _sizes(whole).items():
        if quick and name != "large":
            continue
        by_rule = found.setdefault(name, {})
        trace = whole.sold_for(size.cpu_millis, size.memory_bytes)
        splits = _splits(whole)[: 1 if quick else None]
        with said(f"{len(splits)} splits on {name} hosts"):
            for week in splits:
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
    whole = trace.weeks(1, 1 if quick else trace.weeks_in_all)
    for size_name, size in _sizes(trace).items():
        weeks = whole.sold_for(size.cpu_millis, size.memory_bytes)
        for order_name, order in orders.items():
            if quick and size_name != "large":
                continue
            name = f"{size_name} hosts, {order_name}"
            with said(f"living: {name}"):
                count = _hosts_at_first(weeks, size)
                life = live(weeks, size, count, every_hours=6 if quick else 1, arrival=order)
            kept[name] = life
            rows.append((name, *_life_cells(life)))
    print("\nBitbrains from a cold start, one by one, the product's own way, by week")
    print(common.table(_LIFE_HEAD, rows))
    return kept


def _beside_others(trace: Trace, lives: dict[str, Life]) -> dict[str, bool]:
    """The fewest hosts that any rule of others needs without being overloaded more often than we were."""
    verdicts, rows = {}, []
    for name, size in _sizes(trace).items():
        sold = trace.sold_for(size.cpu_millis, size.memory_bytes)
        with said(f"rules of others with more and less of {name} hosts"):
            found = list(points(sold, size, _splits(trace)))
        ours = lives[f"{name} hosts, as in the trace"].weeks[1 : len(_splits(trace)) + 1]
        hosts = sum(one.most_hosts for one in ours) / len(ours)
        overloaded = weighted([(one.hosts, one.overloaded) for one in ours])
        rows.append((f"Stoa, {name} hosts, at most", f"{hosts:.1f}", f"{100 * overloaded:.4f}", ""))
        for level in (overloaded, TARGET_OVERLOADED):
            least = fewest_at(found, level)
            rule = f"{least.rule}, {least.share}" if least else "none"
            cells = (f"{least.hosts:.1f}", f"{100 * least.overloaded:.4f}") if least else ("", "")
            each = " / ".join(str(one.hosts) for one in least.outcomes) if least else ""
            rows.append((f"others at {100 * level:.4f} %: {rule}", *cells, each))
        best = fewest_at(found, overloaded)
        said_of = f"{best.hosts:.1f}" if best else "no number"
        verdicts[
            f"living: {hosts:.1f} {name} hosts (the best rule of others, overloaded no more: {said_of})"
        ] = best is None or hosts <= best.hosts
    print(
        "\nThe fewest hosts at the same overload, weeks after the first; others plan anew each week"
    )
    print(common.table(("", "hosts", "overloaded %", "by week"), rows))
    return verdicts


_LIFE_HEAD = (
    "", "hosts, mean", "at most", "overloaded %", "moves", "of one", "again", "longest round ms",
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
        " / ".join(str(one.again) for one in weeks),
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
    often = max(one.most_moves for one in weeks)
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
        f"living: at most {often} moves of one machine in a week (aim: 1)": often <= 1,
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
