"""What one running shop costs a host: memory and disk, everything counted.

Claim: the platform adds at most 1 MB of memory to a shop, a whole shop takes at most 10 MB,
and at birth at most 64 kB of disk, its database included.

    python -m bench.footprint [--quick] [--json FILE]

Memory is what the machine has available before the first shop and after the last, once both have
settled, divided by their number: daemons' growth, kernel structures and page tables are all in it. The
shops' own part is the memory their processes alone have written to; the rest is the platform. What
programs outside the measured platform gain or lose meanwhile is taken out. Docker
Engine and podman run the same image in the same run, each alone, with a volume for the database.
Run it on a machine that does little else: kernel memory has no owner that could be told apart.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common, peers
from bench.parts.common import said
from bench.parts.options import HOST, PEERS, Parser
from bench.parts.stoa import Stoa, stoa
from runtime.cgroup import Cgroups
from runtime.disk import loop

TARGET_OVERHEAD_MB = 1.0
TARGET_TOTAL_MB = 10.0
TARGET_DISK_KB = 64.0
PATIENCE_SECONDS = 60.0
QUICK_PATIENCE_SECONDS = 5.0
WARM_UP_SECONDS = 20.0  # by then every periodic task has run once and loaded what it needs
_FIRST = 12
_BLOCK = 512


@dataclass(frozen=True)
class Footprint:
    """Per shop: memory in all and of the shop's own processes, disk on the host, in bytes.

    settled is False when something else moved the machine's memory meanwhile: then memory means nothing.
    """

    shops: int
    memory_bytes: int
    own_bytes: int
    disk_bytes: int
    settled: bool

    @property
    def overhead_bytes(self) -> int:
        """What is left when the shop's own memory is taken away."""
        return self.memory_bytes - self.own_bytes


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    options = _options(argv)
    count = 10 if options.quick else 50
    facts = common.machine()
    image = peers.shop_image()
    found: dict[str, Footprint] = {}
    # Stoa first: what the engines leave behind in the kernel goes slowly, and would flatter who follows.
    with said(f"Stoa: bin/up and {count} shops"), stoa() as mine:
        found["Stoa"] = _of_stoa(mine, count)
    if not options.only_stoa:
        for engine in (peers.docker, peers.podman):
            with said(f"{engine.__name__}: {count} shops"), engine(image) as peer:
                found[peer.name] = _of_engine(peer, count)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    print(common.table(_HEAD, [_row(name, cost) for name, cost in found.items()]))
    verdicts = _verdicts(found["Stoa"])
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {
        "machine": asdict(facts),
        "per_shop": {
            name: {**asdict(cost), "overhead_bytes": cost.overhead_bytes}
            for name, cost in found.items()
        },
        "targets": verdicts,
    }
    common.write_json(options.json, result)
    return 0 if all(verdicts.values()) else 1


_HEAD = ("per shop", "memory in all", "its own", "platform", "disk at birth")


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__, quick="10 shops instead of 50", needs=HOST, peers=PEERS)
    return parser.read(argv)


def _of_engine(peer: peers.Engine, count: int) -> Footprint:
    return _measured(
        count,
        peer.place.pid,
        start=lambda number: peer.start(number, 0.005, volume=True),
        own_pids=peer.shop_pids,
        disk=lambda: disk_bytes(peer.state()),
    )


def _of_stoa(mine: Stoa, count: int) -> Footprint:
    cgroups = Cgroups.detect(mine.host)

    def own_pids() -> list[int]:
        mine.running()
        return [pid for instance in cgroups.instances() for pid in cgroups.pids(instance)]

    return _measured(
        count,
        mine.supervisor,
        start=lambda number: mine.start(number, 0.005),
        own_pids=own_pids,
        disk=lambda: disk_bytes(mine.host.state_dir) + _store_bytes(mine.host.state_dir),
    )


def _measured(
    count: int,
    root: int,
    *,
    start: Callable[[int], float],
    own_pids: Callable[[], list[int]],
    disk: Callable[[], int],
) -> Footprint:
    # A few shops come first: whatever each worker of a platform loads or opens once is not a shop's.
    for number in range(_FIRST):
        start(number)
    is_quick = count <= 10
    patience = QUICK_PATIENCE_SECONDS if is_quick else PATIENCE_SECONDS
    time.sleep(0.0 if is_quick else WARM_UP_SECONDS)
    memory, space = common.settled_memory(root, seconds=patience), disk()
    before = set(own_pids())
    for number in range(_FIRST, _FIRST + count):
        start(number)
    pids = set(own_pids()) - before
    after = common.settled_memory(root, seconds=patience)
    used = memory.amount - after.amount
    own = sum(common.process_memory(pid) for pid in pids)
    settled = memory.settled and after.settled and used > own
    return Footprint(count, used // count, own // count, (disk() - space) // count, settled)


def disk_bytes(top: Path) -> int:
    """What a directory occupies, files with several names once, other file systems left out."""
    seen: set[int] = set()
    device = top.stat().st_dev
    total = 0
    for directory, _names, files in os.walk(top):
        for path in (directory, *(f"{directory}/{name}" for name in files)):
            total += _occupied(path, device, seen)
    return total


def _occupied(path: str, device: int, seen: set[int]) -> int:
    try:
        found = Path(path).lstat()
    except FileNotFoundError:
        return 0
    if found.st_dev != device or found.st_ino in seen:
        return 0
    seen.add(found.st_ino)
    return found.st_blocks * _BLOCK


def _store_bytes(state_dir: Path) -> int:
    """What is in use of the store for shops' data, which is a file system of its own; 0 without one."""
    if not loop.is_mounted(state_dir):
        return 0
    os.sync()
    found = os.statvfs(loop.mount_point(state_dir))
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _row(name: str, found: Footprint) -> tuple[str, ...]:
    if not found.settled:
        own, disk = f"{found.own_bytes / 1e6:.2f} MB", f"{found.disk_bytes / 1e3:.0f} kB"
        return (name, "unsettled", own, "unsettled", disk)
    return (
        name,
        f"{found.memory_bytes / 1e6:.2f} MB",
        f"{found.own_bytes / 1e6:.2f} MB",
        f"{found.overhead_bytes / 1e6:.2f} MB",
        f"{found.disk_bytes / 1e3:.0f} kB",
    )


def _verdicts(found: Footprint) -> dict[str, bool]:
    total, overhead = found.memory_bytes / 1e6, found.overhead_bytes / 1e6
    disk = found.disk_bytes / 1e3
    disk_verdict = {
        f"disk at birth {disk:.0f} kB, target at most {TARGET_DISK_KB:g}": disk <= TARGET_DISK_KB
    }
    if not found.settled:
        # A figure that a neighbour made is neither met nor missed, but no proof either.
        return {
            "memory did not settle: run this while the machine does nothing else": False,
            **disk_verdict,
        }
    return {
        f"a whole shop {total:.2f} MB, target at most {TARGET_TOTAL_MB:g}": total
        <= TARGET_TOTAL_MB,
        f"platform {overhead:.2f} MB a shop, target at most {TARGET_OVERHEAD_MB:g}": (
            overhead <= TARGET_OVERHEAD_MB
        ),
        **disk_verdict,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
