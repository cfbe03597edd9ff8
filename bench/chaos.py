"""Mixed work on three hosts while programs are killed at random: is anything lost, doubled or left?

Claim: after 20 minutes of kills, also two at once, every sign-up and removal that was taken
has come true, no confirmed order is missing, every shop runs once and where the record has it, a restore's
words and data agree, and every alarm is closed.

    python -m bench.chaos [--minutes N] [--seed S] [--quick] [--json FILE] [--install]

The lab: bin/up --hosts 3. The work: visitors who look and order, sign-ups, removals, moves, restores. The
faults: PostgreSQL, one of its backends, Redis, depot, edge agent, web, workers, agents and keepers are
killed; PostgreSQL, Redis and depot also stay away for some seconds. --seed tells a run again: the same
things are drawn in the same order (what they meet depends on the machine).
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import chaos_audit, common
from bench.parts.chaos_faults import Killer
from bench.parts.chaos_work import Restored, Work
from bench.parts.common import said
from bench.parts.options import HOST, Parser
from bench.parts.visitors import Visitors
from tests.lab.machines import HOSTS, Lab
from tests.stoa import free_lab_subnet, running

SELLERS, RESTORED = 6, 2
QUICK_MINUTES = 0.5


@dataclass
class Report:
    """What a run came to. findings: what is not as it must be."""

    minutes: float
    seed: int
    faults: dict[str, int]
    asked: dict[str, int]
    not_taken: dict[str, int]
    orders: int
    requests: int
    requests_failed: int
    settled_seconds: float
    findings: list[str] = field(default_factory=list)


def storm(lab: Lab, *, minutes: float, seed: int, mark: str = "") -> Report:
    """Work and kill for so long, let it settle, and audit. mark: a beginning for the shops' names."""
    dice = random.Random(seed)
    sellers = [f"{mark}seller-{number}" for number in range(SELLERS)]
    restored = [Restored(f"{mark}back-{number}") for number in range(RESTORED)]
    for number, slug in enumerate([*sellers, *(one.slug for one in restored)]):
        lab.sign_up(slug, on=HOSTS[number % len(HOSTS)])
    for slug in sellers:
        lab.sell_without_end(slug)
    killer = Killer(lab, random.Random(dice.random()))
    work = Work(lab, random.Random(dice.random()), sellers, restored, mark=mark)
    visitors = Visitors(lab.stack.port, sellers, looks_per_second=8, orders_per_second=1).start()
    work.start()
    killer.start()
    try:
        time.sleep(minutes * 60)
    finally:
        killer.stop()
        work.stop()
        seen = visitors.stop()
    began = time.monotonic()
    left = chaos_audit.settle(lab)
    settled = time.monotonic() - began
    for one in restored:
        work.look(one, "at the end")
    return Report(
        minutes=minutes,
        seed=seed,
        faults=dict(killer.done),
        asked=dict(work.asked),
        not_taken=dict(work.not_taken),
        orders=seen.order_count,
        requests=len(seen.requests),
        requests_failed=seen.failed,
        settled_seconds=round(settled, 1),
        findings=[*left, *chaos_audit.findings(lab, work, seen)],
    )


def main(argv: Sequence[str]) -> int:
    """Run, print, and return 0 when there is no finding, else 1."""
    options = _options(argv)
    minutes = QUICK_MINUTES if options.quick else options.minutes
    facts = common.machine()
    report = None
    for stack in running("c", STOA_HOSTS=str(len(HOSTS)), STOA_LAB_SUBNET=free_lab_subnet()):
        with said(f"{minutes:g} minutes of work and kills, seed {options.seed}"):
            report = storm(Lab(stack), minutes=minutes, seed=options.seed)
    if report is None:
        return 1
    _print(report)
    common.write_json(options.json, {"machine": asdict(facts), **asdict(report)})
    return 1 if report.findings else 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    quick = f"{QUICK_MINUTES * 60:g} seconds of kills instead of 20 minutes"
    parser = Parser(__doc__, quick=quick, needs=(*HOST, "haproxy"))
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="default: 20")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which run; default: 1")
    return parser.read(argv)


def _print(report: Report) -> None:
    kills = sum(report.faults.values())
    print(f"\n{kills} faults: " + ", ".join(f"{n} {what}" for what, n in report.faults.items()))
    print("asked:  " + ", ".join(f"{n} {verb}" for verb, n in report.asked.items()))
    print("of these refused or not answered: " + str(report.not_taken or "none"))
    print(
        f"{report.requests} visits, {report.requests_failed} failed while things were away; "
        f"{report.orders} orders"
    )
    print(f"settled {report.settled_seconds:g} s after the last fault")
    print("\n".join(report.findings) or "nothing lost, nothing doubled, nothing left")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
