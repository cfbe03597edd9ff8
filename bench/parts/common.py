"""What all benchmarks share: facts of the machine, percentiles, tables, and waiting for a first answer."""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
FIRST_ANSWER_SECONDS = 60.0
_CONNECT_SECONDS = 0.02
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on."""

    kernel: str
    cores: int
    memory_mib: int
    load_before: float


def machine() -> Machine:
    """Facts of this machine, read now."""
    return Machine(
        kernel=os.uname().release,
        cores=os.cpu_count() or 1,
        memory_mib=_meminfo("MemTotal") // _MIB,
        load_before=round(os.getloadavg()[0], 2),
    )


def available_memory() -> int:
    """Bytes the kernel could give to new programs (MemAvailable)."""
    return _meminfo("MemAvailable")


def slab_memory() -> int:
    """Bytes of the kernel's own small objects: open files and their buffers are among them."""
    return _meminfo("Slab")


@dataclass(frozen=True)
class Level:
    """A reading of memory in bytes, and whether it had come to rest."""

    amount: int
    settled: bool


def settled_memory(root: int, *, seconds: float, tolerance: int = 3 * _MIB) -> Level:
    """Memory that is available, or held by programs that have nothing to do with the process tree root.

    Read once it has stopped moving: the kernel frees what ended programs held with a delay, and the
    cgroups of ended containers only with the last cached page, so caches are dropped first. The mean of
    the last readings when they lie within tolerance bytes, or, unsettled, at the deadline.
    """
    deadline = time.monotonic() + seconds
    _drop_caches()
    readings = [available_memory() + memory_outside(root)]
    while time.monotonic() < deadline:
        time.sleep(0.7)
        readings.append(available_memory() + memory_outside(root))
        last = readings[-5:]
        if len(last) == 5 and max(last) - min(last) <= tolerance:
            return Level(sum(last) // len(last), settled=True)
    last = readings[-5:]
    return Level(sum(last) // len(last), settled=False)


def _drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(1.0)  # what hung on the cached pages goes by work queues


def memory_outside(root: int) -> int:
    """Memory written to by every process that is not root or below it: what neighbours do is no result."""
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    return sum(process_memory(pid) for pid in parents if not _is_below(pid, root, parents))


def process_memory(pid: int) -> int:
    """Memory a process alone has written to, in bytes; 0 when it has ended or is not ours to look into."""
    try:
        return own_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def own_bytes(smaps_rollup: str) -> int:
    """What smaps_rollup says a process alone has written to; file pages can be dropped and are nobody's."""
    wanted = ("Pss_Anon:", "Pss_Shmem:")
    lines = (line.split() for line in smaps_rollup.splitlines())
    return sum(int(words[1]) * 1024 for words in lines if words and words[0] in wanted)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that share (0 to 1) of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = math.ceil(round(share * len(ordered), 6))
    return ordered[max(rank, 1) - 1]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in plain text, first column to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for number, row in enumerate(cells):
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((first, *rest)).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def write_json(path: str, result: Mapping[str, object]) -> None:
    """Keep a result for comparisons; path "" keeps nothing."""
    if path:
        Path(path).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def said(text: str) -> Iterator[None]:
    """Say what is going on and how long it took; benchmarks are watched by people."""
    started = time.monotonic()
    print(f"· {text} …", end="", flush=True)
    try:
        yield
    finally:
        print(f" {time.monotonic() - started:.1f} s", flush=True)


def status_of(address: tuple[str, int], host: str, path: str, *, timeout: float = 5.0) -> int:
    """The HTTP status of one GET, 0 when there is no answer (yet).

    A connection to this machine opens at once or not at all. Waiting longer would measure TCP: a first
    packet lost because the container's network is half up is sent again only after a second.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
            connection.settimeout(timeout)
            connection.sendall(request)
            answer = connection.recv(64)
    except OSError:
        return 0
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def wait_for_200(
    address: tuple[str, int], host: str, path: str, *, every_seconds: float = 0.005
) -> float:
    """Ask until the answer is 200; returns the moment it came (time.monotonic)."""
    deadline = time.monotonic() + FIRST_ANSWER_SECONDS
    while time.monotonic() < deadline:
        if status_of(address, host, path) == 200:
            return time.monotonic()
        time.sleep(every_seconds)
    raise SystemExit(f"{host}{path} at {address} did not answer 200 in {FIRST_ANSWER_SECONDS:g} s")


@dataclass(frozen=True)
class Round:
    """Times in milliseconds: of each one after another, of each of those at once, and until all were up."""

    one_by_one: tuple[float, ...]
    at_once: tuple[float, ...]
    all_at_once_ms: float


def measure(start: Callable[[int, float], float], *, one_by_one: int, at_once: int) -> Round:
    """Time starts numbered from 0; start(number, poll interval) returns the milliseconds it took."""
    singles = tuple(start(number, 0.005) for number in range(one_by_one))
    begun = time.monotonic()
    with ThreadPoolExecutor(max(1, at_once)) as pool:
        numbers = range(one_by_one, one_by_one + at_once)
        # Twenty askers every 5 ms would themselves be the load.
        together = tuple(pool.map(lambda number: start(number, 0.025), numbers))
    return Round(singles, together, round((time.monotonic() - begun) * 1000, 1))


def round_row(name: str, found: Round) -> tuple[str, ...]:
    """A row for round_head."""
    one, many = found.one_by_one, found.at_once
    return (
        name,
        f"{percentile(one, 0.5):.0f}",
        f"{percentile(one, 0.95):.0f}",
        f"{percentile(many, 0.5):.0f}" if many else "–",
        f"{percentile(many, 0.95):.0f}" if many else "–",
        f"{found.all_at_once_ms:.0f}" if many else "–",
    )


ROUND_HEAD = (
    "milliseconds to the first 200",
    "one by one p50",
    "p95",
    "at once p50",
    "p95",
    "all up after",
)


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/meminfo has no {name}")


def _pids() -> list[int]:
    return [int(place.name) for place in Path("/proc").iterdir() if place.name.isdecimal()]


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[1])  # a program's name may hold spaces and brackets


def _is_below(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid not in {0, root}:
        pid = parents.get(pid, 0)
    return pid == root
