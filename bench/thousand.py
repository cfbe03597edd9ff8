"""A thousand shops running at once on one host: how long until all run, and what they take together.

Claim: 1,000 shops within 10 GB, agent and keeper together within 80 MB.

    python -m bench.thousand [--quick] [--json FILE]

The reference shop, each with a volume, a disk limit that is enforced and a published port, started by
calls over the broker as the control plane makes them, two at a time. Memory is what the machine has
available before and after, settled; agent and keeper are counted by their share of every page (PSS).
Every shop must answer while all of them run.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common, peers
from bench.parts.common import REPO, said
from bench.parts.host import FENCE, Host, host
from bench.parts.options import HOST, Parser
from runtime.specs import VolumeFate
from runtime.units import GIB
from workers.rpc import drivers
from workers.rpc.client import Caller

SHOPS = 1000
TARGET_TOTAL_GB = 10.0
TARGET_PLATFORM_MB = 80.0
AT_ONCE = 2  # a start is all processor time, and this is what the machine has
_PATIENCE_SECONDS = 60.0
_CHECKERS = 8


@dataclass(frozen=True)
class Result:
    """seconds: until the last of the shops ran; the removal of all. memory: bytes in all, settled or not.

    pss: of agent and keeper, bytes, with every shop running. sample_ms: one pass over all, by a call.
    """

    shops: int
    start_seconds: float
    remove_seconds: float
    memory_bytes: int
    own_bytes: int
    settled: bool
    agent_pss: int
    keeper_pss: int
    sample_ms: float
    left: tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    parser = Parser(__doc__, quick="50 shops instead of 1,000", needs=HOST)
    options = parser.read(argv)
    count, patience = (50, 5.0) if options.quick else (SHOPS, _PATIENCE_SECONDS)
    facts = common.machine()
    with host(store_bytes=4 * GIB) as mine, _agent(mine) as agent:
        mine.take(peers.shop_image(), "shop")
        found = _measured(mine, agent, count, patience)
    verdicts = _verdicts(found)
    _show(found, facts)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    common.write_json(
        options.json, {"machine": asdict(facts), "result": asdict(found), "targets": verdicts}
    )
    return 0 if all(verdicts.values()) else 1


def _measured(mine: Host, agent: int, count: int, patience: float) -> Result:
    _start(mine, 0)  # loads what is loaded once
    _remove(mine, 0)
    before = common.settled_memory(os.getpid(), seconds=patience)
    begun = time.monotonic()
    with said(f"starting {count} shops, {AT_ONCE} at a time"), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: _start(mine, number), range(count)))
    started = time.monotonic() - begun
    with said("asking every one of them"), ThreadPoolExecutor(_CHECKERS) as pool:
        list(pool.map(lambda number: _ask(mine, number), range(count)))
    begun = time.monotonic()
    samples = mine.driver.samples()
    sample_ms = (time.monotonic() - begun) * 1000
    if len(samples) != count:
        raise SystemExit(f"{len(samples)} of {count} shops were measured")
    with said("letting memory settle"):
        after = common.settled_memory(os.getpid(), seconds=patience)
    own = sum(common.process_memory(pid) for pid in mine.pids())
    pss = [share(pid) for pid in (agent, mine.keeper.pid)]
    begun = time.monotonic()
    with said("removing all of them"), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: _remove(mine, number), range(count)))
    removed = time.monotonic() - begun
    used = before.amount - after.amount
    return Result(
        shops=count,
        start_seconds=round(started, 2),
        remove_seconds=round(removed, 2),
        memory_bytes=used,
        own_bytes=own,
        settled=before.settled and after.settled and used > own,
        agent_pss=pss[0],
        keeper_pss=pss[1],
        sample_ms=round(sample_ms, 1),
        left=tuple(status.instance_id for status in mine.driver.list()),
    )


def _start(mine: Host, number: int) -> None:
    env = peers.shop_env(f"bench{number}", "http://bench.localhost")
    spec = mine.spec(number, env=tuple(env.items()), volume=f"bench{number}")
    mine.driver.ensure_running(spec, fence=FENCE)


def _ask(mine: Host, number: int) -> None:
    common.wait_for_200(mine.address(number), "localhost", "/")  # or SystemExit


def _remove(mine: Host, number: int) -> None:
    instance_id = mine.spec(number).instance_id
    mine.driver.ensure_absent(instance_id, fence=FENCE, volume=VolumeFate.DELETE, grace_seconds=0.0)


@contextmanager
def _agent(mine: Host) -> Iterator[int]:
    """The host's agent on a broker of its own; the host is driven through it. Gives the agent's pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    settings = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
    broker = subprocess.Popen(["redis-server", *settings], stdout=subprocess.DEVNULL)
    with (mine.config.state_dir.parent / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "workers.agents", "host"],
            env={**mine.environ, "STOA_BROKER_URL": url}, cwd=REPO, stdout=log, stderr=log,
        )  # fmt: skip
    caller = Caller(url)
    try:
        mine.driver = drivers.for_host(caller, name=mine.config.name, engine="crun")
        _await_agent(mine)
        yield agent.pid
    finally:
        caller.close()
        for process in (agent, broker):
            process.terminate()
            process.wait(30)


def _await_agent(mine: Host) -> None:
    for _ in range(100):
        try:
            mine.driver.list()
        except Exception as error:  # noqa: BLE001 - until it answers, anything means: not yet
            last = error
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"the agent does not answer: {last}")


def share(pid: int) -> int:
    """Memory of a process in bytes, pages that several use counted in equal shares (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/smaps_rollup has no Pss")


def _show(found: Result, facts: common.Machine) -> None:
    mark = "" if found.settled else " (unsettled)"
    each, own = found.memory_bytes / found.shops, found.own_bytes / found.shops
    rows = [
        ("all running after", f"{found.start_seconds:.1f} s"),
        ("shops a second", f"{found.shops / found.start_seconds:.1f}"),
        ("memory in all", f"{found.memory_bytes / 1e9:.2f} GB{mark}"),
        ("memory a shop", f"{each / 1e6:.2f} MB{mark}"),
        ("of that the shop's own", f"{own / 1e6:.2f} MB"),
        ("agent", f"{found.agent_pss / 1e6:.1f} MB PSS"),
        ("keeper", f"{found.keeper_pss / 1e6:.1f} MB PSS"),
        ("one sample of all, by a call", f"{found.sample_ms:.0f} ms"),
        ("all removed after", f"{found.remove_seconds:.1f} s"),
    ]
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    print(common.table((f"{found.shops} shops", ""), rows))


def _verdicts(found: Result) -> dict[str, bool]:
    thousand = found.memory_bytes / found.shops * SHOPS / 1e9
    platform = (found.agent_pss + found.keeper_pss) / 1e6
    verdicts = {
        f"agent and keeper {platform:.1f} MB, target at most {TARGET_PLATFORM_MB:g}": (
            platform <= TARGET_PLATFORM_MB
        ),
        f"{len(found.left)} instances left after removal, target 0": not found.left,
    }
    if found.settled:
        text = f"1,000 shops in {thousand:.2f} GB, target at most {TARGET_TOTAL_GB:g}"
        verdicts[text] = thousand <= TARGET_TOTAL_GB
    else:
        verdicts["memory did not settle: run this while the machine does nothing else"] = False
    return verdicts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
