"""What becomes of shops when hosts die and lines break: three hosts on this machine, real parts, real edge.

Claims: all shops of a host that died serve again within 60 s, from the last snapshot; a host
that control cannot reach for two minutes fails no request and nothing of it is started twice; one that is
cut off from all is lost, its shops come back elsewhere, and the old ones end when it returns.

    python -m bench.lab [--quick] [--only NAME,…] [--shops N] [--json FILE]

    dead       kill -9 of everything on a host at once
    apart      a host without a line to control for two minutes, its edge path up, under steady visits
    gone       a host with its cable out; a control worker is killed in the middle of the recovery

--quick: 6 shops instead of 30, 25 s instead of two minutes. Visits: each shop's front page in turn, 20 a
second. One machine for all: what three real machines would share less, the processors above all, they
share here.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common
from bench.parts.common import said
from bench.parts.options import Parser
from tests.lab.machines import HOSTS, Lab, Line, until
from tests.stoa import free_lab_subnet, running

BACK_SECONDS = 60.0
_VISITS_PER_SECOND = 20


@dataclass(frozen=True)
class Finding:
    """What one scenario came to. is_held: whether the claim held."""

    name: str
    shops: int
    is_held: bool
    figures: dict[str, float | int | str]


@dataclass
class Visitors:
    """Visits to shops one after another through the edge, until told to stop."""

    lab: Lab
    slugs: Sequence[str]
    visits: int = 0
    failed: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        began = time.monotonic()
        while not self.stopping.is_set():
            slug = self.slugs[number % len(self.slugs)]
            self.failed += self.lab.answers([slug])[slug] != 200
            self.visits += 1
            number += 1
            self.stopping.wait(max(0.0, began + number / _VISITS_PER_SECOND - time.monotonic()))


@contextmanager
def visiting(lab: Lab, slugs: Sequence[str]) -> Iterator[Visitors]:
    """Steady visits for as long as the block runs."""
    visitors = Visitors(lab, slugs)
    thread = threading.Thread(target=visitors.run)
    thread.start()
    try:
        yield visitors
    finally:
        visitors.stopping.set()
        thread.join()


def dead(lab: Lab, slugs: Sequence[str], seconds: float) -> Finding:
    """Everything on a host dies at once; it boots again later."""
    lab.snapshot(*slugs)
    lab.kill("host2")
    lost = until(lambda: lab.health("host2") == "lost", seconds=BACK_SECONDS, every=0.1)
    back = lost + until(lambda: lab.all_serve(slugs), seconds=10 * BACK_SECONDS, every=0.1)
    lab.boot("host2")
    booted = time.monotonic()
    until(lab.all_alive, seconds=60)
    until(lambda: is_one_of_each(lab, slugs), seconds=60)
    figures: dict[str, float | int | str] = {
        "seconds until it is lost": round(lost, 1),
        "seconds until all serve again": round(back, 1),
        "seconds from its boot until exactly one of each runs": round(time.monotonic() - booted, 1),
        "recoveries that ended well": ended_well(lab, slugs),
    }
    return Finding("dead", len(slugs), back <= BACK_SECONDS, figures)


def apart(lab: Lab, slugs: Sequence[str], seconds: float) -> Finding:
    """The line between a host and control is broken, that to the edge is not."""
    with visiting(lab, slugs) as visitors:
        lab.cut("host2", Line.CONTROL)
        try:
            unreachable = until(lambda: lab.health("host2") == "unreachable", seconds=30, every=0.1)
            time.sleep(max(0.0, seconds - unreachable))
            state = lab.health("host2")
        finally:
            lab.heal("host2")
        healed = time.monotonic()
        until(lab.all_alive, seconds=60)
        alive = time.monotonic() - healed
    once = is_one_of_each(lab, slugs)
    figures: dict[str, float | int | str] = {
        "seconds apart": seconds,
        "seconds until it is unreachable": round(unreachable, 1),
        "state at the end": state,
        "visits": visitors.visits,
        "visits that failed": visitors.failed,
        "recoveries": len(lab.recoveries(*slugs)),
        "seconds until it is alive again": round(alive, 1),
        "exactly one of each": "yes" if once else "no",
    }
    is_held = state == "unreachable" and not visitors.failed and once
    return Finding("apart", len(slugs), is_held and not lab.recoveries(*slugs), figures)


def gone(lab: Lab, slugs: Sequence[str], seconds: float) -> Finding:
    """A host's cable is out; the worker that brings its shops back is killed in the middle."""
    lab.snapshot(*slugs)
    lab.cut("host2", Line.ALL)
    began = time.monotonic()
    try:
        until(lambda: len(lab.recoveries(*slugs)) > 0, seconds=BACK_SECONDS, every=0.05)
        lab.stack.kill("control")
        until(lambda: lab.all_serve(slugs), seconds=10 * BACK_SECONDS, every=0.1)
        back = time.monotonic() - began
        twice = sum(len(lab.copies(slug)) == 2 for slug in slugs)
    finally:
        lab.heal("host2")
    healed = time.monotonic()
    until(lab.all_alive, seconds=60)
    until(lambda: is_one_of_each(lab, slugs), seconds=60)
    fenced = time.monotonic() - healed
    until(lambda: ended_well(lab, slugs) == len(slugs), seconds=90)
    recoveries = len(lab.recoveries(*slugs))
    figures: dict[str, float | int | str] = {
        "seconds until all serve again": round(back, 1),
        "copies behind the broken line": twice,
        "seconds from healing until exactly one of each runs": round(fenced, 1),
        "recoveries": recoveries,
        "recoveries that ended well": ended_well(lab, slugs),
    }
    return Finding("gone", len(slugs), back <= BACK_SECONDS and recoveries == len(slugs), figures)


SCENARIOS: dict[str, Callable[[Lab, Sequence[str], float], Finding]] = {
    "dead": dead,
    "apart": apart,
    "gone": gone,
}


def is_one_of_each(lab: Lab, slugs: Sequence[str]) -> bool:
    """Whether every shop runs once, where the record has it."""
    return all(lab.copies(slug) == [lab.place(slug)] for slug in slugs)


def ended_well(lab: Lab, slugs: Sequence[str]) -> int:
    """How many recoveries of these shops have succeeded."""
    return sum(state == "succeeded" for _slug, state in lab.recoveries(*slugs))


def measure(names: Sequence[str], shops: int, seconds: float) -> list[Finding]:
    """One lab for all scenarios; each with shops of its own."""
    findings = []
    for stack in running("b", STOA_HOSTS=str(len(HOSTS)), STOA_LAB_SUBNET=free_lab_subnet()):
        lab = Lab(stack)
        for name in names:
            until(lab.all_alive, seconds=60)
            slugs = [f"{name}{number}" for number in range(shops)]
            with said(f"{name}: {shops} shops on the host that fails"):
                lab.sign_up(*slugs, on="host2")
                findings.append(SCENARIOS[name](lab, slugs, seconds))
    return findings


def main() -> int:
    """Measure, print, and say whether every claim held."""
    parser = Parser(__doc__, quick="fewer shops, shorter times")
    parser.add_argument("--only", default=",".join(SCENARIOS), metavar="NAME,…")
    parser.add_argument("--shops", type=int, default=0, metavar="N", help="on the host that fails")
    arguments = parser.read(sys.argv[1:])
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"{unknown[0]!r} is no scenario; there are {', '.join(SCENARIOS)}")
    shops = arguments.shops or (6 if arguments.quick else 30)
    findings = measure(names, shops, 25.0 if arguments.quick else 120.0)
    for finding in findings:
        print(
            f"\n{finding.name}, {finding.shops} shops: {'held' if finding.is_held else 'NOT held'}"
        )
        for what, amount in finding.figures.items():
            print(f"  {what:<55} {amount}")
    result = {"machine": asdict(common.machine()), "findings": [asdict(one) for one in findings]}
    common.write_json(arguments.json, result)
    return 0 if all(one.is_held for one in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
