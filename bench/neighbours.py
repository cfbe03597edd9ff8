"""What a tenant that burns all it can get does to the nine others on its host.

Claim in the README: the p99 of nine quiet shops stays within twice of what it is when they are alone.

    python -m bench.neighbours [--quick] [--only cpu,log] [--json FILE]

Nine reference shops answer ten requests a second each, every one on a new connection to its published
port. A tenth container with the starter plan's ceilings burns processor (four processes), memory (to the
ceiling, is killed, is started again), disk (write and fsync without end), processes (a fork bomb), log
(lines without end) and network (new connections without end) in turn. Times count from the moment a
request was due, so a late answer is not hidden by later questions. The asker shares the machine.

Reads are asked for. What this kernel cannot limit is said in docs/runtime.md: under cgroup v1 io
ceilings do not hold for buffered writes, so a neighbour's fsync does wait for a disk that is busy.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import common, peers
from bench.common import percentile, said
from bench.host import FENCE, Host, host
from bench.images import image_from
from runtime.units import MIB, Ceilings

TARGET_TIMES_ALONE = 2.0
BURNS = ("cpu", "memory", "disk", "pids", "log", "network")
QUIET = 9
_EVERY_SECONDS = 0.1
_GIVE_UP_SECONDS = 5.0
_BEGIN_SECONDS = 1.0
_SINK = "198.51.100.0/24"
# As tenants/services/catalogue.py has it for the starter plan.
_CEILINGS = Ceilings(
    cpu_millis=1000,
    memory_bytes=64 * MIB,
    pids=64,
    disk_bytes=256 * MIB,
    egress_bytes_per_second=2 * MIB,
    connections=256,
    new_connections_per_second=32,
    io_bytes_per_second=40 * MIB,
)


@dataclass(frozen=True)
class Answers:
    """Milliseconds each request took, failed ones as long as was waited; and how many failed."""

    took_ms: tuple[float, ...]
    failed: int

    @property
    def p99(self) -> float:
        return percentile(self.took_ms, 0.99)


@dataclass(frozen=True)
class Burnt:
    """What the tenth container got hold of while it burned: proof that it did."""

    cpu_seconds: float
    throttled_seconds: float
    processes: int
    oom_kills: int
    disk_mib: float
    sent_kib: float
    restarts: int


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    options = _options(argv)
    seconds = 5.0 if options.quick else 20.0
    facts = common.machine()
    shop = peers.shop_image()
    noisy = image_from(Path(__file__).with_name("noisy"), "bench-noisy")
    found: dict[str, Answers] = {}
    burnt: dict[str, Burnt] = {}
    with host() as place, _sink():
        with said(f"{QUIET} quiet shops"):
            quiet = _quiet_shops(place, shop)
        place.take(noisy, "bench-noisy")
        with said("alone"):
            before = _asked(quiet, seconds)
        for number, burn in enumerate(options.only):
            with said(burn), _burning(place, QUIET + number, burn) as tenth:
                found[burn] = _asked(quiet, seconds)
                burnt[burn] = _burnt(place, tenth)
        with said("alone again"):
            after = _asked(quiet, seconds)
    # Before and after, so that a machine that was busier for a while shows in both.
    alone = Answers(before.took_ms + after.took_ms, before.failed + after.failed)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    rows = [_row("alone", alone, alone), *(_row(one, found[one], alone) for one in found)]
    print(common.table(_HEAD, rows))
    print("\n" + common.table(_BURNT_HEAD, [_burnt_row(one, burnt[one]) for one in burnt]))
    verdicts = verdicts_of(alone, found)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {
        "machine": asdict(facts),
        "seconds_each": seconds,
        "p50_p99_ms": {
            name: (percentile(one.took_ms, 0.5), one.p99, one.failed)
            for name, one in {"alone": alone, **found}.items()
        },
        "burnt": {name: asdict(one) for name, one in burnt.items()},
        "targets": verdicts,
    }
    common.write_json(options.json, result)
    return 0 if all(verdicts.values()) else 1


_HEAD = ("the tenth burns", "requests", "p50 ms", "p99 ms", "slowest", "failed", "p99 / alone")
_BURNT_HEAD = (
    "what it got", "cpu s", "throttled s", "processes", "oom kills", "disk MiB", "sent KiB", "restarts",
)  # fmt: skip


def verdicts_of(alone: Answers, found: Mapping[str, Answers]) -> dict[str, bool]:
    """A sentence for each burn, and whether the quiet shops hardly noticed it."""
    verdicts = {}
    for burn, answers in found.items():
        ratio = answers.p99 / alone.p99
        text = (
            f"{burn}: p99 of the quiet {answers.p99:.1f} ms, {ratio:.2f} of alone,"
            f" target at most {TARGET_TIMES_ALONE:g}; {answers.failed} failed"
        )
        verdicts[text] = ratio <= TARGET_TIMES_ALONE and not answers.failed
    return verdicts


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="5 seconds each instead of 20")
    parser.add_argument(
        "--only", type=_burns, default=BURNS, metavar="BURN,…", help=", ".join(BURNS)
    )
    parser.add_argument("--json", default="", metavar="FILE", help="also keep the result in FILE")
    return parser.parse_args(argv)


def _burns(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    unknown = [one for one in chosen if one not in BURNS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(BURNS)}")
    return chosen


def _quiet_shops(place: Host, shop: peers.Image) -> list[tuple[str, int]]:
    """Start the quiet shops; where each answers."""
    place.take(shop, "shop")
    for number in range(QUIET):
        url = f"http://bench{number}.localhost"
        env = tuple(peers.shop_env(f"bench{number}", url).items())
        place.run(number, 0.005, env=env, volume=f"bench{number}", ceilings=_CEILINGS)
    return [place.address(number) for number in range(QUIET)]


@contextmanager
def _burning(place: Host, number: int, burn: str) -> Iterator[str]:
    """The tenth container, burning for as long as the block lasts; its instance id."""
    spec = place.spec(number, env=(("BURN", burn),), volume=f"bench{number}", ceilings=_CEILINGS)
    place.driver.ensure_running(spec, fence=FENCE)
    time.sleep(_BEGIN_SECONDS)
    try:
        yield spec.instance_id
    finally:
        place.remove(number)


def _burnt(place: Host, instance_id: str) -> Burnt:
    status = place.driver.status(instance_id)
    # A container that is between two runs has no sample.
    sample = next((one for one in place.driver.samples() if one.instance_id == instance_id), None)
    return Burnt(
        cpu_seconds=round(sample.cpu_nanos / 1e9, 1) if sample else 0.0,
        throttled_seconds=round(sample.cpu_throttled_nanos / 1e9, 1) if sample else 0.0,
        processes=sample.pids if sample else 0,
        oom_kills=max(status.oom_kills, sample.oom_kills if sample else 0),
        disk_mib=round(sample.disk_bytes / MIB, 1) if sample else 0.0,
        sent_kib=round(sample.tx_bytes / 1024, 1) if sample else 0.0,
        restarts=status.restarts,
    )


def _asked(addresses: Sequence[tuple[str, int]], seconds: float) -> Answers:
    """Ask every shop at a steady pace."""
    begin = time.monotonic() + 0.1
    with ThreadPoolExecutor(len(addresses)) as pool:
        asking = [
            # Not all in the same moment: that would be a burst every tenth of a second.
            pool.submit(_ask_one, address, begin + _EVERY_SECONDS * n / len(addresses), seconds)
            for n, address in enumerate(addresses)
        ]
        times = [one.result() for one in asking]
    took = tuple(ms for answers in times for ms in answers.took_ms)
    return Answers(took, sum(answers.failed for answers in times))


def _ask_one(address: tuple[str, int], begin: float, seconds: float) -> Answers:
    took, failed = [], 0
    for number in range(int(seconds / _EVERY_SECONDS)):
        due = begin + number * _EVERY_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
        if not _answers(address):
            failed += 1
        took.append((time.monotonic() - due) * 1000)
    return Answers(tuple(took), failed)


def _answers(address: tuple[str, int]) -> bool:
    """Whether the shop's front page came whole."""
    try:
        with socket.create_connection(address, timeout=_GIVE_UP_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            head = connection.recv(65536)
            while connection.recv(65536):
                pass
    except OSError:
        return False
    return head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))


@contextmanager
def _sink() -> Iterator[None]:
    """A network that ends in this machine: what is sent to it is forwarded, counted, and dropped."""
    name = f"sink{os.getpid()}"
    _ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        for end in (name, f"{name}p"):
            _ip("link", "set", end, "arp", "off", "up")  # nobody is asked for, all is sent
        _ip("route", "add", _SINK, "dev", name)
        yield
    finally:
        _ip("link", "delete", name)


def _ip(*argv: str) -> None:
    done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ip {' '.join(argv)}: {done.stderr.strip()}")


def _row(name: str, found: Answers, alone: Answers) -> tuple[str, ...]:
    return (
        name,
        str(len(found.took_ms)),
        f"{percentile(found.took_ms, 0.5):.1f}",
        f"{found.p99:.1f}",
        f"{max(found.took_ms):.1f}",
        str(found.failed),
        f"{found.p99 / alone.p99:.2f}",
    )


def _burnt_row(name: str, one: Burnt) -> tuple[object, ...]:
    return (name, *asdict(one).values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
