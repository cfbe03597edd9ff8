"""Visitors who come at fixed moments, whatever became of those before: an open loop, in a process apart.

    python -m bench.inner.steady ADDRESS PORTS RATE

Reads lines `SECONDS` and answers each with one line of JSON: milliseconds of every visit, counted from
the moment it was meant to begin, so that a server that stalls cannot hide the visits it kept waiting.
A visit that failed counts as the whole patience.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from bench.parts.common import REPO

PATIENCE_SECONDS = 5.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Visits:
    """Milliseconds of each visit; how many got no 200; the longest the visitors' own loop was late."""

    ms: tuple[float, ...]
    failed: int
    late_ms: float


class Visitors:
    """Talks to the process that visits."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def visit(self, seconds: float) -> Visits:
        """Visit every shop at the rate given, for so long."""
        if not self._process.stdin or not self._process.stdout:
            raise SystemExit("the visitors have no pipes")
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the visitors ended before their time")
        found = json.loads(line)
        return Visits(tuple(found["ms"]), found["failed"], found["late_ms"])


@contextmanager
def visitors(addresses: Sequence[tuple[str, int]], rate: float) -> Iterator[Visitors]:
    """A process that visits each address `rate` times a second when told to."""
    ports = ",".join(str(port) for _address, port in addresses)
    argv = [sys.executable, "-m", "bench.inner.steady", addresses[0][0], ports, str(rate)]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO
    )
    try:
        yield Visitors(process)
    finally:
        process.kill()
        process.communicate()


async def _visit(address: str, port: int, meant: float, visits: list[float]) -> bool:
    """One visit that was meant to begin at `meant` (the loop's clock)."""
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout_at(meant + PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(_REQUEST)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        answer = b""
    good = answer.startswith(b"HTTP/1.1 200 ") and answer.rstrip().endswith(b"</html>")
    visits.append((clock() - meant if good else PATIENCE_SECONDS) * 1000)
    return good


async def _period(address: str, ports: Sequence[int], rate: float, seconds: float) -> Visits:
    clock = asyncio.get_running_loop().time
    begin = clock() + 0.1
    found: list[float] = []
    under_way: list[asyncio.Task[bool]] = []
    late = 0.0
    # One after another around all shops: no two visits begin at the same moment.
    for number in range(int(seconds * rate * len(ports))):
        meant = begin + number / (rate * len(ports))
        await asyncio.sleep(max(0.0, meant - clock()))
        late = max(late, clock() - meant)
        port = ports[number % len(ports)]
        under_way.append(asyncio.create_task(_visit(address, port, meant, found)))
    good = await asyncio.gather(*under_way)
    return Visits(tuple(round(ms, 2) for ms in found), good.count(False), round(late * 1000, 1))


def main(argv: Sequence[str]) -> int:
    """Answer each line on standard input."""
    address, ports, rate = argv[0], [int(port) for port in argv[1].split(",")], float(argv[2])
    with suppress(PermissionError):
        # Visitors are elsewhere: they do not wait for this machine's processors.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    gc.disable()  # its pauses would look like the shops'
    for line in sys.stdin:
        found = asyncio.run(_period(address, ports, rate, float(line)))
        print(json.dumps(found.__dict__), flush=True)
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
