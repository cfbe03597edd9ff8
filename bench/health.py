"""What asking 2,000 running shops for their health every half minute costs.

Claim: at most 3 % of one core.

    python -m bench.health [--quick] [--json FILE]

Measured is the keeper's own watch (runtime/keeper/watching/health_watch.py) in a loop of its own: the
questions, the timers, and the look at each shop's cgroup. The shops are one program that answers on as many
addresses of the loopback network; its own time is not counted. --quick: one period, which is each shop
once; else three.
"""

import multiprocessing
import os
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common
from bench.parts.common import said
from bench.parts.options import Parser
from runtime.bundle import Desired, InstanceDirectory, InstanceRecord, Program
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Loop
from runtime.keeper.processes import start_ticks
from runtime.keeper.supervised import Phase, Supervised
from runtime.keeper.watching.health_watch import HealthHooks, HealthWatch, Pace
from runtime.specs import InstanceSpec
from runtime.units import MIB, Limits

TARGET_PERCENT = 3.0
SHOPS = 2000
PERIODS = 3
_FIRST_PORT = 20000
_QUESTIONS = tuple(b"GET %b HTTP/1.1\r\nHost: shop-" % path for path in (b"/healthz", b"/"))
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main(argv: Sequence[str]) -> int:
    """Measure, print, and tell by the exit code whether the claim holds (0) or not (1)."""
    arguments = Parser(__doc__, quick="one period instead of three", is_root=False).read(argv)
    listening = socket.create_server(("0.0.0.0", 0), backlog=1024)  # noqa: S104 - loopback only, see below
    answers = multiprocessing.get_context("fork").Value("L", 0)
    shop = multiprocessing.get_context("fork").Process(
        target=_serve, args=(listening, answers), daemon=True
    )
    shop.start()
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            percent, asked = _measure(
                Path(place), listening.getsockname()[1], answers, 1 if arguments.quick else PERIODS
            )
    finally:
        shop.kill()
        shop.join()
    per_question = percent / 100 * Pace().every / SHOPS * 1e6
    print(common.table(
        ("shops", "questions answered", "of one core", "a question"),
        [(SHOPS, asked, f"{percent:.2f} %", f"{per_question:.0f} µs")],
    ))  # fmt: skip
    if arguments.json:
        result = {"shops": SHOPS, "questions": asked, "percent_of_a_core": percent}
        common.write_json(arguments.json, result)
    return 0 if percent <= TARGET_PERCENT and asked >= SHOPS else 1


def _measure(place: Path, port: int, answers: object, periods: int) -> tuple[float, int]:
    # Every address of 127/8 is this machine's: each shop has one, and the one program answers on all.
    config = HostConfig(
        name="bench",
        scope="health",
        state_dir=place,
        subnet=IPv4Network("127.64.0.0/16"),
        ports=range(_FIRST_PORT, _FIRST_PORT + SHOPS),
    )
    with said(f"writing {SHOPS} records"):
        kept = [_kept(config, number, port) for number in range(SHOPS)]
    loop, troubles = Loop(), []
    hooks = HealthHooks(
        lambda: kept,
        lambda one, **_: troubles.append(one),
        troubles.append,
        lambda _one: None,  # this process is in no instance's cgroup, which is seen and let be
        lambda _instance, _since: False,
    )
    HealthWatch(loop, config, Cgroups.detect(config), hooks).look()
    with said("each shop comes to its turn"):
        _run(loop, Pace().every + 5)  # reading the records is over by then
    seconds = periods * Pace().every
    with said(f"measuring for {seconds:.0f} s"):
        before, heard = time.process_time(), answers.value  # type: ignore[attr-defined]
        _run(loop, seconds)
        used, asked = time.process_time() - before, answers.value - heard  # type: ignore[attr-defined]
    if troubles:
        raise SystemExit(
            f"{len(troubles)} shops gave no answer: this machine is too busy to measure"
        )
    return used / seconds * 100, asked


def _run(loop: Loop, seconds: float) -> None:
    loop.after(seconds, loop.stop)
    loop.run()


def _kept(config: HostConfig, number: int, port: int) -> Supervised:
    instance_id = f"ins_bench{number:06d}"
    spec = InstanceSpec(
        instance_id=instance_id,
        tenant=f"shop-{number}",
        image_digest="sha256:" + "0" * 64,
        published_port=_FIRST_PORT + number,
        ceilings=Limits(1000, 64 * MIB, 64, 100 * MIB),
        container_port=port,
        env=(("STOA_PUBLIC_URL", f"http://shop-{number}.localhost:8080"),),
    )
    program = Program(("x",), (), "/", 0, 0, "SIGTERM")
    directory = InstanceDirectory.of(config.state_dir, instance_id)
    directory.root.mkdir(parents=True)
    directory.write(InstanceRecord(spec, "/nowhere", program, Desired.RUNNING))
    kept = Supervised(
        instance_id, LogReader(directory, fds={"out": -1}), Phase.RUNNING, wanted=True
    )
    kept.proven = kept.healthy = True
    kept.pid, kept.ticks = os.getpid(), start_ticks(os.getpid())
    return kept


def _serve(listening: socket.socket, answers: object) -> None:
    """Answer whoever asks, with a page that says nothing."""
    listening.setblocking(False)
    waiting = selectors.DefaultSelector()
    waiting.register(listening, selectors.EVENT_READ)
    while True:
        for key, _events in waiting.select():
            if key.fileobj is listening:
                peer = listening.accept()[0]
                waiting.register(peer, selectors.EVENT_READ)
                continue
            peer = key.fileobj  # type: ignore[assignment]
            waiting.unregister(peer)
            if peer.recv(4096).startswith(_QUESTIONS):
                peer.sendall(_ANSWER)
                answers.value += 1  # type: ignore[attr-defined]
            peer.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
