"""How long one reading of everything that 1,000 shops use takes.

Claim: one pass over 1,000 instances takes at most 100 ms.

    python -m bench.sampling [--quick] [--json FILE]

Each instance is a process in cgroups of its own in every hierarchy and a network interface, without a
container around them, in a network namespace of the bench's own. The processes wake now and then, or
the kernel would have nothing to add up. Timed is what an agent does: Sampler.samples, traffic included
(disks are measured at another pace). Beside it: the same with every file opened anew at each pass, and
what the open files cost the kernel.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common
from bench.parts.common import said
from bench.parts.options import Parser
from runtime.bundle import Desired, InstanceRecord, Program
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.crun.disks import Disks
from runtime.crun.sampling import Sampler
from runtime.disk import Spaces
from runtime.network import plan
from runtime.specs import InstanceSpec
from runtime.system import syscalls
from runtime.units import MIB, Limits

TARGET_MS = 100.0
INSTANCES = 1000
PASSES = 30
PAUSE_SECONDS = 0.5  # between passes, so that the processes have done something
WAKE_SECONDS = 1.0
_FIRST_PORT = 20000


@dataclass(frozen=True)
class Passes:
    """Milliseconds of each pass one way, and what the first one took, which opens files."""

    first_ms: float
    ms: tuple[float, ...]


def main(argv: Sequence[str]) -> int:
    """Measure, print, and tell by the exit code whether the claim holds (0) or not (1)."""
    parser = Parser(__doc__, quick="100 instances, 5 passes", needs=("ip",))
    options = parser.read(argv)
    count, passes = (100, 5) if options.quick else (INSTANCES, PASSES)
    facts = common.machine()
    syscalls.unshare(syscalls.CLONE_NEWNET)
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as place:
        config = HostConfig(
            "local", f"b{os.getpid()}", Path(place), IPv4Network("100.99.0.0/16"),
            range(_FIRST_PORT, _FIRST_PORT + INSTANCES),
        )  # fmt: skip
        cgroups = Cgroups.detect(config)
        records = dict(_records(count))
        with _instances(config, cgroups, records):
            before = common.slab_memory()
            kept, sampler = _passes(config, cgroups, records, passes, keep_open=None)
            open_bytes = max(0, common.slab_memory() - before)
            sampler.close()
            plain, sampler = _passes(config, cgroups, records, passes, keep_open=0)
            sampler.close()
    result = {"files stay open": kept, "opened at each pass": plain}
    _show(result, count, open_bytes)
    p95 = common.percentile(kept.ms, 0.95)
    common.write_json(
        options.json,
        {
            "machine": asdict(facts),
            "instances": count,
            "kernel_bytes_of_open_files": open_bytes,
            **{name: asdict(one) for name, one in result.items()},
        },
    )
    print(f"\np95 {p95:.1f} ms for {count} instances; claim: at most {TARGET_MS:g} ms for 1,000")
    return 0 if p95 <= TARGET_MS else 1


def _passes(
    config: HostConfig,
    cgroups: Cgroups,
    records: dict[str, InstanceRecord],
    count: int,
    *,
    keep_open: int | None,
) -> tuple[Passes, Sampler]:
    way = "files stay open" if keep_open is None else "every file is opened"
    with said(f"{count} passes over {len(records)} instances, {way}"):
        sampler = Sampler(config, cgroups, Disks(Spaces(config.state_dir)), keep_open=keep_open)
        times = []
        for _ in range(count + 1):
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            found = sampler.samples(records)
            times.append(round((time.perf_counter() - began) * 1000, 2))
            if len(found) != len(records) or not all(one.cpu_nanos for one in found):
                raise SystemExit(f"only {len(found)} of {len(records)} instances were read")
    return Passes(times[0], tuple(times[1:])), sampler


def _records(count: int) -> Iterator[tuple[str, InstanceRecord]]:
    for number in range(count):
        spec = InstanceSpec(
            instance_id=f"ins_{number:08d}",
            tenant=f"shop-{number}",
            image_digest="sha256:" + "0" * 64,
            published_port=_FIRST_PORT + number,
            ceilings=Limits(1000, 64 * MIB, 16, 100 * MIB),
        )
        program = Program(("/bin/true",), (), "/", 0, 0)
        yield spec.instance_id, InstanceRecord(spec, "", program, Desired.RUNNING)


@contextmanager
def _instances(
    config: HostConfig, cgroups: Cgroups, records: dict[str, InstanceRecord]
) -> Iterator[None]:
    """A process, its cgroups and an interface for each record; all gone afterwards."""
    pids: list[int] = []
    try:
        with said(f"starting {len(records)} processes in cgroups of their own"):
            names = (plan.veth_of(config, one.spec.published_port) for one in records.values())
            batch = "".join(f"link add {name} type veth peer name p{name[1:]}\n" for name in names)
            subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
            for instance_id in records:
                places = [
                    _made(tree, cgroups, instance_id) for tree in cgroups.layout.roots.values()
                ]
                pids.append(_started(places))
        yield
    finally:
        with said("ending them"):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
            cgroups.remove_scope()


def _made(tree: Path, cgroups: Cgroups, instance_id: str) -> Path:
    place = Path(f"{tree}{cgroups.oci_path(instance_id)}")
    place.mkdir(parents=True, exist_ok=True)
    return place


def _started(places: Sequence[Path]) -> int:
    pid = os.fork()
    if pid:
        return pid
    for place in places:
        if "cpuset" not in str(place):  # which wants processors first, and counts nothing
            (place / "cgroup.procs").write_text("0")
    sum(range(20_000))
    while True:
        time.sleep(WAKE_SECONDS)


def _show(result: dict[str, Passes], count: int, open_bytes: int) -> None:
    head = (f"{count} instances, ms a pass", "p50", "p95", "worst", "first")
    rows = [
        (name, f"{common.percentile(one.ms, 0.5):.1f}", f"{common.percentile(one.ms, 0.95):.1f}",
         f"{max(one.ms):.1f}", f"{one.first_ms:.1f}")
        for name, one in result.items()
    ]  # fmt: skip
    print("\n" + common.table(head, rows))
    print(f"\nOpen files cost the kernel about {open_bytes / count / 1024:.0f} KiB an instance.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
