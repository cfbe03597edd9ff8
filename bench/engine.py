"""What an engine takes to start, stop and remove a container, and what a running one costs.

Claim: a start takes at most 45 ms (median, network included) and at most 0.15 of what
Docker takes; the platform adds at most 1 MB of memory to a container.

    python -m bench.engine [--quick] [--json FILE]

The same tiny image (a static busybox that serves one file) for the crun driver, podman, Docker Engine
and, as the floor under them, runc with an overlay and no network, each alone, in one run. `start` ends
when the engine says done, `answers` with the first 200 through the published port. Stopping gives no
grace. Memory is what the machine has available before and after, settled, less what the containers'
own processes hold; processor time is the whole machine's during the starts. So run it on a machine that
does little else.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common, peers
from bench.parts.bare_runc import runc
from bench.parts.common import percentile, said
from bench.parts.host import host
from bench.parts.images import tiny_image
from bench.parts.options import HOST, PEERS, Parser

TARGET_START_MS = 45.0
TARGET_OF_DOCKER = 0.15
TARGET_OVERHEAD_MB = 1.0
_FIRST = 5
_POLL_SECONDS = 0.002


class Engine(Protocol):
    """What is measured."""

    def run(self, number: int, every_seconds: float) -> peers.Started:
        """Start one and wait for its first answer."""
        ...

    def stop(self, number: int) -> float:
        """Milliseconds to end one."""
        ...

    def remove(self, number: int) -> float:
        """Milliseconds to remove one."""
        ...


@dataclass(frozen=True)
class Candidate:
    """An engine ready to be used. root: the process all of it descends from."""

    engine: Engine
    root: int
    pids: Callable[[], list[int]]


@dataclass(frozen=True)
class Cost:
    """Milliseconds of each container; memory and processor time per container."""

    start_ms: tuple[float, ...]
    answer_ms: tuple[float, ...]
    stop_ms: tuple[float, ...]
    remove_ms: tuple[float, ...]
    cpu_ms: float
    memory_bytes: int
    own_bytes: int
    settled: bool

    @property
    def overhead_bytes(self) -> int:
        """What is left when the container's own memory is taken away."""
        return self.memory_bytes - self.own_bytes


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    parser = Parser(
        __doc__,
        quick="8 containers instead of 60",
        needs=(*HOST, "/bin/busybox"),
        peers=(*PEERS, "runc"),
    )
    options = parser.read(argv)
    count, patience = (8, 2.5) if options.quick else (60, 60.0)
    facts = common.machine()
    image = tiny_image()
    found: dict[str, Cost] = {}
    for name, candidate in _candidates(image, only_stoa=options.only_stoa):
        with said(f"{name}: {count} containers"), candidate as one:
            found[name] = _measured(one, count, patience)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    print(common.table(_HEAD, [_row(name, cost) for name, cost in found.items()]))
    verdicts, ratios = _verdicts(found), _ratios(found)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {
        "machine": asdict(facts),
        "engines": {
            name: {**asdict(cost), "overhead_bytes": cost.overhead_bytes}
            for name, cost in found.items()
        },
        "ratios": ratios,
        "targets": verdicts,
    }
    common.write_json(options.json, result)
    return 0 if all(verdicts.values()) else 1


def _candidates(
    image: peers.Image, *, only_stoa: bool
) -> Iterator[tuple[str, AbstractContextManager[Candidate]]]:
    # Stoa first: what the engines leave behind in the kernel goes slowly, and would flatter who follows.
    yield "Stoa (crun driver)", _stoa(image)
    if only_stoa:
        return
    yield "podman run", _peer(peers.podman, image)
    yield "docker run", _peer(peers.docker, image)
    yield "runc, no network", _runc()


@contextmanager
def _stoa(image: peers.Image) -> Iterator[Candidate]:
    with host() as mine:
        mine.take(image, "bench-tiny")
        yield Candidate(mine, os.getpid(), mine.pids)


@contextmanager
def _peer(
    engine: Callable[[peers.Image], AbstractContextManager[peers.Engine]],
    image: peers.Image,
) -> Iterator[Candidate]:
    with engine(image) as peer:
        yield Candidate(peer, peer.place.pid, peer.shop_pids)


@contextmanager
def _runc() -> Iterator[Candidate]:
    with runc() as bare:
        yield Candidate(bare, bare.place.pid, bare.pids)


def _measured(one: Candidate, count: int, patience: float) -> Cost:
    # A few come first: whatever an engine loads or opens once is not a container's.
    for number in range(_FIRST):
        one.engine.run(number, _POLL_SECONDS)
    before, known = common.settled_memory(one.root, seconds=patience), set(one.pids())
    numbers = range(_FIRST, _FIRST + count)
    busy = busy_seconds()
    started = [one.engine.run(number, _POLL_SECONDS) for number in numbers]
    busy = busy_seconds() - busy
    after = common.settled_memory(one.root, seconds=patience)
    own = sum(common.process_memory(pid) for pid in set(one.pids()) - known)
    stopped = [one.engine.stop(number) for number in numbers]
    removed = [one.engine.remove(number) for number in numbers]
    used = before.amount - after.amount
    return Cost(
        start_ms=tuple(round(each.returned_ms, 2) for each in started),
        answer_ms=tuple(round(each.answered_ms, 2) for each in started),
        stop_ms=tuple(round(each, 2) for each in stopped),
        remove_ms=tuple(round(each, 2) for each in removed),
        cpu_ms=round(busy * 1000 / count, 1),
        memory_bytes=used // count,
        own_bytes=own // count,
        settled=before.settled and after.settled and used > own,
    )


def busy_seconds() -> float:
    """Seconds of processor time this machine has spent on anything since it was started."""
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


_HEAD = (
    "per container", "start p50 ms", "p95", "answers p50", "p95", "stop p50", "remove p50",
    "processor ms", "memory MB", "its own", "engine's",
)  # fmt: skip


def _row(name: str, cost: Cost) -> tuple[str, ...]:
    has_network = "no network" not in name
    answers = (percentile(cost.answer_ms, 0.5), percentile(cost.answer_ms, 0.95))
    mark = "" if cost.settled else "?"  # something else moved the machine's memory meanwhile
    return (
        name,
        f"{percentile(cost.start_ms, 0.5):.0f}",
        f"{percentile(cost.start_ms, 0.95):.0f}",
        *(f"{value:.0f}" if has_network else "–" for value in answers),
        f"{percentile(cost.stop_ms, 0.5):.0f}",
        f"{percentile(cost.remove_ms, 0.5):.0f}",
        f"{cost.cpu_ms:.0f}",
        f"{cost.memory_bytes / 1e6:.2f}{mark}",
        f"{cost.own_bytes / 1e6:.2f}",
        f"{cost.overhead_bytes / 1e6:.2f}{mark}",
    )


def _ratios(found: dict[str, Cost]) -> dict[str, float]:
    """Stoa's median start as a share of each peer's."""
    mine, *others = found.items()
    start = percentile(mine[1].start_ms, 0.5)
    return {name: round(start / percentile(cost.start_ms, 0.5), 3) for name, cost in others}


def _verdicts(found: dict[str, Cost]) -> dict[str, bool]:
    mine = next(iter(found.values()))
    start = percentile(mine.start_ms, 0.5)
    overhead = mine.overhead_bytes / 1e6
    verdicts = {
        f"start {start:.1f} ms p50, target at most {TARGET_START_MS:g}": start <= TARGET_START_MS
    }
    for name, share in _ratios(found).items():
        if name.startswith("docker"):
            text = f"{share:.2f} of Docker's start, target at most {TARGET_OF_DOCKER:g}"
            verdicts[text] = share <= TARGET_OF_DOCKER
    if mine.settled:
        text = f"engine's memory {overhead:.2f} MB, target at most {TARGET_OVERHEAD_MB:g}"
        verdicts[text] = overhead <= TARGET_OVERHEAD_MB
    else:
        verdicts["memory did not settle: run this while the machine does nothing else"] = False
    return verdicts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
