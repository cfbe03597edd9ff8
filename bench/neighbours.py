"""What nine quiet shops notice of a tenth tenant on the same host who takes all he can get.

Claim: their p99 stays within twice of what it is alone, whatever he does: processor,
memory, disk, processes, log or network.

    python -m bench.neighbours [--quick] [--only KIND,…] [--json FILE]

One private host: a keeper and ten containers of the smallest plan. A process apart visits each shop's
storefront 8 times a second through its published port, at fixed moments; a visit's time counts from
the moment it was meant to begin. Visits read; what a checkout's fsync waits for is in docs/runtime.md.
Every round measures the nine alone and then beside him; the figures
are medians over the rounds, those alone over all of them. Beside them stands who used the processor.

Under cgroup version 1 no limit holds for buffered writes (docs/runtime.md): that case is measured
all the same.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.engine import busy_seconds
from bench.inner.steady import Visitors, visitors
from bench.parts import burner, common, peers
from bench.parts.common import percentile, said
from bench.parts.host import FENCE, Host, host
from bench.parts.options import HOST, Parser
from runtime.cgroup import Cgroups
from runtime.cgroup.layout import Version
from runtime.units import GIB, MIB, Limits

TARGET_RATIO = 2.0
# The starter plan's limits (tenants/catalogue/releases.py).
STARTER = Limits(
    cpu_millis=1000,
    memory_bytes=64 * MIB,
    pids=64,
    disk_bytes=256 * MIB,
    egress_bytes_per_second=2 * MIB,
    connections=256,
    new_connections_per_second=32,
    io_bytes_per_second=40 * MIB,
)
_SHOPS = 9
_RATE = 8.0
_BURNER = 100
_SETTLE_SECONDS = 2.0
# The visitors and the kernel's own work take a tenth of a core.
_STRANGE_CORES = 0.3


@dataclass(frozen=True)
class Period:
    """A time of visits: milliseconds, visits that failed; cores used and MB a second written meanwhile."""

    p50_ms: float
    p99_ms: float
    failed: int
    late_ms: float
    machine_cores: float
    keeper_cores: float
    burner_cores: float
    shops_cores: float
    written_mb: float

    @property
    def strange_cores(self) -> float:
        """Cores used by what has no part in this, the kernel's own work included."""
        ours = self.keeper_cores + self.burner_cores + self.shops_cores
        return round(self.machine_cores - ours, 2)


@dataclass(frozen=True)
class Pair:
    """The nine alone, and right after it beside one who burns."""

    alone: Period
    beside: Period


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    options = _options(argv)
    kinds = options.only.split(",") if options.only else list(burner.KINDS)
    facts = common.machine()
    found: dict[str, list[Pair]] = {kind: [] for kind in kinds}
    with said("a host, nine shops"):
        images = peers.shop_image(), burner.burner_image()
    with host(store_bytes=4 * GIB) as mine:
        layout = Cgroups.detect(mine.config).layout
        shop, burning = (mine.take(image, f"bench-{n}") for n, image in enumerate(images))
        _open_shops(mine, shop)
        addresses = [mine.address(number) for number in range(_SHOPS)]
        with visitors(addresses, _RATE) as public:
            public.visit(2.0)
            for kind in kinds * (1 if options.quick else options.rounds):
                found[kind].append(_pair(mine, public, burning, kind, options))
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel},"
        f" cgroup v{layout.version.value}, load {facts.load_before}"
    )
    ratios = ratios_of(found)
    print(common.table(_HEAD, [_row(kind, pairs, ratios[kind]) for kind, pairs in found.items()]))
    if layout.version is Version.V1:
        rate = STARTER.io_bytes_per_second / 1e6
        print(
            "\ncgroup v1 sets no limit on buffered writes: the plan's"
            f" {rate:.0f} MB/s do not hold beside `disk`; the quota does."
        )
    strange = statistics.median(
        pair.alone.strange_cores for pairs in found.values() for pair in pairs
    )
    if strange > _STRANGE_CORES:
        print(
            f"\nSomething else used {strange:g} cores while the nine were alone: these figures say little."
        )
    verdicts = {
        f"beside {kind}: {times:.2f} times the p99 alone, target at most {TARGET_RATIO:g}":
        times <= TARGET_RATIO
        for kind, times in ratios.items()
    }  # fmt: skip
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {
        "machine": asdict(facts),
        "cgroup_version": layout.version.value,
        "kinds": {kind: [asdict(pair) for pair in pairs] for kind, pairs in found.items()},
        "strange_cores_alone": strange,
        "ratios": {kind: round(times, 2) for kind, times in ratios.items()},
        "targets": verdicts,
    }
    common.write_json(options.json, result)
    return 0 if all(verdicts.values()) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__, quick="one round of short periods", needs=(*HOST, "/bin/busybox"))
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all kinds (default 3)")
    parser.add_argument("--only", default="", help=f"some of {','.join(burner.KINDS)}")
    options = parser.read(argv)
    if unknown := set(options.only.split(",")) - {"", *burner.KINDS}:
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(burner.KINDS)}")
    return options


def _open_shops(mine: Host, digest: str) -> None:
    for number in range(_SHOPS):
        address, port = mine.address(number)
        env = peers.shop_env(f"bench{number}", f"http://{address}:{port}")
        mine.run(
            number,
            0.01,
            image_digest=digest,
            ceilings=STARTER,
            volume=f"bench{number}",
            env=tuple(env.items()),
        )


def _pair(
    mine: Host, public: Visitors, digest: str, kind: str, options: argparse.Namespace
) -> Pair:
    seconds, settle = (2.5, 1.0) if options.quick else (9.0, _SETTLE_SECONDS)
    with said(f"alone, beside {kind}"):
        alone = _period(mine, public, seconds)
        with _burning(mine, digest, kind):
            time.sleep(settle)
            beside = _period(mine, public, seconds)
        # What he left to be written or freed is not the next one's.
        time.sleep(settle)
    return Pair(alone, beside)


@contextmanager
def _burning(mine: Host, digest: str, kind: str) -> Iterator[None]:
    spec = mine.spec(
        _BURNER,
        image_digest=digest,
        ceilings=STARTER,
        volume=f"bench{_BURNER}",
        env=(("BURN", kind),),
        health_path="",
    )
    mine.driver.ensure_running(spec, fence=FENCE)
    try:
        yield
    finally:
        mine.remove(_BURNER)


def _period(mine: Host, public: Visitors, seconds: float) -> Period:
    begun, before = time.monotonic(), _used(mine)
    visits = public.visit(seconds)
    took, after = time.monotonic() - begun, _used(mine)
    # A container started again begins at nothing, hence max.
    cores = [max(0.0, now - then) / took for then, now in zip(before, after, strict=True)]
    return Period(
        round(percentile(visits.ms, 0.5), 2),
        round(percentile(visits.ms, 0.99), 2),
        visits.failed,
        visits.late_ms,
        *(round(amount, 2) for amount in cores),
    )


def _used(mine: Host) -> tuple[float, ...]:
    """Seconds of processor time so far: machine, keeper, the one who burns, the nine; MB written."""
    keeper = Path(f"/proc/{mine.keeper.pid}/stat").read_text().rpartition(")")[2].split()
    meter = Cgroups.detect(mine.config).meter(keep_open=0)
    usages = [meter.usage(mine.spec(one).instance_id) for one in (_BURNER, *range(_SHOPS))]
    burnt, *served = (usage.cpu_nanos / 1e9 if usage else 0.0 for usage in usages)
    # utime and stime, in hundredths; its children are the containers too, so they are left out.
    own = sum(map(int, keeper[11:13])) / 100
    return busy_seconds(), own, burnt, sum(served), _written_mb(mine)


def _written_mb(mine: Host) -> float:
    """What was written to the host's store so far, whomever the kernel counts it for."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        if backing.read_text().startswith(str(mine.config.state_dir)):
            return int((backing.parents[1] / "stat").read_text().split()[6]) * 512 / 1e6
    return 0.0


_HEAD = (
    "p99 of nine shops, ms", "alone", "beside", "times", "p50 alone", "beside", "failed",
    "late", "cores: all", "keeper", "burner", "shops",
    "MB/s written",
)  # fmt: skip


def ratios_of(found: Mapping[str, Sequence[Pair]]) -> dict[str, float]:
    """The median p99 beside each kind, in medians of all periods alone: what one kind leaves behind for
    the next one's time alone must not flatter that one."""
    alone = statistics.median(pair.alone.p99_ms for pairs in found.values() for pair in pairs)
    return {
        kind: statistics.median(pair.beside.p99_ms for pair in pairs) / alone
        for kind, pairs in found.items()
    }


def _row(kind: str, pairs: Sequence[Pair], times: float) -> tuple[str, ...]:
    alone, beside = ([pair.alone for pair in pairs], [pair.beside for pair in pairs])

    def median(periods: Sequence[Period], name: str, form: str) -> str:
        return format(statistics.median(getattr(one, name) for one in periods), form)

    return (
        kind,
        median(alone, "p99_ms", ".1f"),
        median(beside, "p99_ms", ".1f"),
        f"{times:.2f}",
        median(alone, "p50_ms", ".1f"),
        median(beside, "p50_ms", ".1f"),
        str(sum(one.failed for one in beside)),
        f"{max(one.late_ms for one in beside):.1f}",
        *(
            median(beside, f"{who}_cores", ".2f")
            for who in ("machine", "keeper", "burner", "shops")
        ),
        median(beside, "written_mb", ".0f"),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
