"""How long a merchant waits: from the sign-up's POST to the first 200 of the shop at its own address.

Claim: a sign-up, with everything a control plane does around it, takes less than 0.6 of a
bare `docker run` of the same image, and 20 at once are no slower than Docker's 20 at once.

    python -m bench.signup [--quick] [--json FILE]

Docker Engine and podman (Debian's packages, private directories, namespaces of their own) start the same
image with the same environment, without limits and without a volume, which flatters them. Their first
200 is asked for at a published port, Stoa's through its edge with the shop's own host name. Each runs
alone; shops stay up while more are started.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common, peers
from bench.parts.common import Round, percentile, said
from bench.parts.options import HOST, PEERS, Parser
from bench.parts.stoa import Stoa, stoa
from runtime.crun import CrunDriver

TARGET_SHARE_OF_DOCKER = 0.6
TARGET_P95_MS = 1000.0


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    options = _options(argv)
    single, many = (10, 10) if options.quick else (50, 20)
    facts = common.machine()
    image = peers.shop_image()
    found: dict[str, Round] = {}
    if not options.only_stoa:
        for engine in (peers.docker, peers.podman):
            text = f"{engine.__name__}: {single} one after another, {many} at once"
            with said(text), engine(image) as peer:
                found[peer.name] = common.measure(peer.start, one_by_one=single, at_once=many)
    with said(f"Stoa: bin/up, {single} one after another, {many} at once"), stoa() as mine:
        found["Stoa sign-up"] = common.measure(mine.start, one_by_one=single, at_once=many)
        phases = {
            "one after another": _phases(mine, mine.operations[:single]),
            "at once": _phases(mine, mine.operations[single:]),
        }
        inside = _inside_start(mine)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    rows = [common.round_row(name, times) for name, times in found.items()]
    print(common.table(common.ROUND_HEAD, rows))
    _print_phases(phases, inside)
    verdicts = _verdicts(found)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {
        "machine": asdict(facts),
        "rounds": {name: asdict(times) for name, times in found.items()},
        "phases_ms": phases,
        "inside_start_ms": inside,
        "targets": verdicts,
    }
    common.write_json(options.json, result)
    return 0 if all(verdicts.values()) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__, quick="10 and 10 instead of 50 and 20", needs=HOST, peers=PEERS)
    return parser.read(argv)


def _phases(mine: Stoa, operations: Iterable[str]) -> dict[str, float]:
    """Median milliseconds of each part of the operations, from the durable record."""
    parts: dict[str, list[float]] = {}
    for operation in operations:
        facts = mine.finished(operation)
        begun = _moment(facts["created_at"])
        first = _moment(facts["started_at"])
        parts.setdefault("until a worker has it", []).append((first - begun) * 1000)
        steps = facts["steps"]
        parts.setdefault("until the first step", []).append(
            (_moment(steps[0]["started_at"]) - first) * 1000
        )
        for step in steps:
            parts.setdefault(step["name"], []).append(step["seconds"] * 1000)
    return {name: round(percentile(values, 0.5), 1) for name, values in parts.items()}


def _inside_start(mine: Stoa) -> dict[str, float]:
    """Median milliseconds of what the host did for the step `start`, as the host timed it."""
    parts: dict[str, list[float]] = {}
    for status in CrunDriver(mine.host).list():
        for name, amount in status.timings_ms.items():
            parts.setdefault(name, []).append(amount)
    return {name: round(percentile(values, 0.5), 1) for name, values in parts.items()}


def _print_phases(phases: dict[str, dict[str, float]], inside: dict[str, float]) -> None:
    print("\nwhere the time goes (median ms of each part, from the operations' own record)")
    names = list(next(iter(phases.values())))
    rows = [[name, *(f"{part.get(name, 0):.1f}" for part in phases.values())] for name in names]
    print(common.table(["part", *phases], rows))
    print("\ninside `start`, on the host (median ms of all shops)")
    print("  " + "  ".join(f"{name} {amount:g}" for name, amount in inside.items()))


def _verdicts(found: dict[str, Round]) -> dict[str, bool]:
    mine = found["Stoa sign-up"]
    p50, p95 = percentile(mine.one_by_one, 0.5), percentile(mine.one_by_one, 0.95)
    verdicts = {
        f"p95 one after another {p95:.0f} ms, target below {TARGET_P95_MS:.0f}": p95 < TARGET_P95_MS
    }
    docker = found.get(peers.Docker.name)
    if docker:
        theirs = percentile(docker.one_by_one, 0.5)
        verdicts[
            f"p50 is {p50 / theirs:.2f} of docker run, target below {TARGET_SHARE_OF_DOCKER}"
        ] = p50 < TARGET_SHARE_OF_DOCKER * theirs
        verdicts[
            f"{len(mine.at_once)} at once all up after {mine.all_at_once_ms:.0f} ms,"
            f" Docker {docker.all_at_once_ms:.0f} ms"
        ] = mine.all_at_once_ms <= docker.all_at_once_ms
    return verdicts


def _moment(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
