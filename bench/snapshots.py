"""Copies of a volume under writes: whole or not, how long, how large; beside a plain copy and tar | zstd.

    python -m bench.snapshots [--quick] [--json FILE]

A SQLite database is written to all the time, with mmap, in WAL and with a rollback journal. Each way
takes the same number of copies of the same running writer; a copy counts as whole when `PRAGMA
integrity_check` says ok and the two tables, which every transaction changes together, tell the same.
Peers, in the same run: `cp -a` of the live directory, and `tar | zstd` of it, as a cron job would.
Ours: a btrfs snapshot (a store in a file, as bin/up makes it) and the way without one, which freezes
the writer. Then what one changed page of a large database costs each of them, and what a restore takes.
"""

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.parts import common
from bench.parts.options import Parser
from runtime.disk import loop
from runtime.units import MIB
from runtime.volume_requests import VolumeSave
from tests.runtime.shelves import shelf
from tests.runtime.volume.conftest import NOBODY, Place
from tests.runtime.volume.test_sqlite import frozen_by_signal, writing

MODES = ("wal", "delete")
FILLED = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """One way of copying: whole of taken copies, median time, archive size, standstill of the writer."""

    way: str
    journal: str
    taken: int
    whole: int
    seconds: float
    archive_bytes: int
    frozen_ms: float


def main(argv: Sequence[str]) -> int:
    """Print the table."""
    parser = Parser(
        __doc__, quick="fewer copies, a smaller database", needs=("mkfs.btrfs", "tar", "zstd")
    )
    asked = parser.read(argv)
    times, size = (8, 16 * MIB) if asked.quick else (40, 128 * MIB)
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as home:
        rows = [row for mode in MODES for row in _under_writes(Path(home), mode, times)]
        pages = _one_page(Path(home), size)
    common.write_json(asked.json, {"under_writes": [_told(row) for row in rows], "one_page": pages})
    print(f"{'way':<22}{'journal':>8}{'whole':>9}{'s':>8}{'archive':>10}{'frozen ms':>11}")
    for row in rows:
        print(
            f"{row.way:<22}{row.journal:>8}{row.whole:>5}/{row.taken:<3}{row.seconds:>8.3f}"
            f"{row.archive_bytes / 1024:>8.0f} K{row.frozen_ms:>11.1f}"
        )
    print(f"\none changed page of a database of {size // MIB} MiB:")
    for way, told in pages.items():
        print(f"{way:<22}{told['seconds']:>8.3f} s{told['bytes'] / 1024:>12.0f} K")
    return 0


def _under_writes(home: Path, mode: str, times: int) -> Iterator[Row]:
    for kind in ("store", "measured"):
        with _place(home / f"{kind}-{mode}", is_store=kind == "store") as place:
            database = place.volume() / "shop.db"
            _fill(database, mode)
            with writing(database, mode) as writer:
                time.sleep(0.5)
                if kind == "store":
                    for way, copy in (("cp -a", _cp), ("tar | zstd", _tar)):
                        yield _peer(way, mode, times, partial(copy, database.parent), home)
                place.stillness = NOBODY if kind == "store" else frozen_by_signal(writer)
                way = "ours, btrfs snapshot" if kind == "store" else "ours, freeze and copy"
                yield _ours(way, mode, times, place)


def _fill(database: Path, mode: str) -> None:
    """Make it as large as a shop's is after a year, so that a copy takes longer than a transaction."""
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA journal_mode={mode}")
        db.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, amount, note)")
        db.execute("CREATE TABLE total (id INTEGER PRIMARY KEY, amount)")
        rows = ((1, os.urandom(500).hex()) for _ in range(FILLED))
        db.executemany("INSERT INTO line (amount, note) VALUES (?, ?)", rows)
        db.execute("INSERT INTO total VALUES (1, ?)", (FILLED,))
        db.commit()


def _ours(way: str, mode: str, times: int, place: Place) -> Row:
    took, sizes, frozen, whole = [], [], [], 0
    for _ in range(times):
        began = time.perf_counter()
        saved = place.save(is_full=True)
        took.append(time.perf_counter() - began)
        sizes.append(saved.archive_bytes)
        frozen.append(saved.frozen_ms)
        copy = place.load()
        place.begin_to_run("copy")
        whole += _is_whole(copy / "shop.db")
        time.sleep(0.02)
    return _row(way, mode, whole, took, sizes, statistics.median(frozen))


def _peer(way: str, mode: str, times: int, copy: Callable[[Path], int], home: Path) -> Row:
    took, sizes, whole = [], [], 0
    for number in range(times):
        to = home / f"peer-{mode}-{number}"
        to.mkdir()
        began = time.perf_counter()
        sizes.append(copy(to))
        took.append(time.perf_counter() - began)
        whole += _is_whole(to / "shop.db")
        shutil.rmtree(to)
        time.sleep(0.02)
    return _row(way, mode, whole, took, sizes, 0.0)


def _cp(source: Path, to: Path) -> int:
    # A file that vanishes meanwhile (a journal) is an error of cp and no fault of the copy.
    subprocess.run(["cp", "-a", f"{source}/.", to], check=False, stderr=subprocess.DEVNULL)
    return sum(one.stat().st_size for one in to.iterdir())


def _tar(source: Path, to: Path) -> int:
    archive = to.with_suffix(".tar.zst")
    pack = f"tar -C {source} -cf - . 2>/dev/null | zstd -3 -q -o {archive}"
    subprocess.run(["sh", "-c", pack], check=False)
    subprocess.run(["tar", "-C", to, "--zstd", "-xf", archive], check=False)
    size = archive.stat().st_size
    archive.unlink()
    return size


def _is_whole(database: Path) -> bool:
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as db:
        if db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return False
        (lines,) = db.execute("SELECT COALESCE(sum(amount), 0) FROM line").fetchone()
        return bool(db.execute("SELECT amount FROM total").fetchone() == (lines,))
    return False


def _one_page(home: Path, size: int) -> dict[str, dict[str, float]]:
    """What a small change of a large database costs: the copy of it, and the way back."""
    found: dict[str, dict[str, float]] = {}
    with _place(home / "page", is_store=True, store_bytes=max(512 * MIB, 6 * size)) as place:
        place.ceiling = 2 * size
        database = place.volume() / "shop.db"
        database.write_bytes(os.urandom(size))
        began = time.perf_counter()
        full = place.save()
        found["ours, full"] = _cost(began, full.archive_bytes)
        with database.open("r+b") as file:
            file.seek(size // 2)
            file.write(os.urandom(4096))
        began = time.perf_counter()
        part = place.save()
        found["ours, difference"] = _cost(began, part.archive_bytes)
        began = time.perf_counter()
        place.volumes.save(_again(part.snapshot, place), NOBODY)
        found["ours, unchanged"] = _cost(began, 0)
        to = home / "page-tar"
        to.mkdir()
        began = time.perf_counter()
        archive = home / "page.tar.zst"
        pack = f"tar -C {database.parent} -cf - . | zstd -3 -q -o {archive}"
        subprocess.run(["sh", "-c", pack], check=True)
        found["tar | zstd"] = _cost(began, archive.stat().st_size)
        began = time.perf_counter()
        place.load()
        found["ours, restore of both"] = _cost(began, full.archive_bytes + part.archive_bytes)
    return found


def _again(base: str, place: Place) -> VolumeSave:
    return VolumeSave("acme", "snp_0000000z", base, place.shelf.address("snp_0000000z"))


def _cost(began: float, size: int) -> dict[str, float]:
    return {"seconds": time.perf_counter() - began, "bytes": size}


def _row(
    way: str, mode: str, whole: int, took: list[float], sizes: list[int], frozen: float
) -> Row:
    return Row(
        way=way,
        journal=mode,
        taken=len(took),
        whole=whole,
        seconds=statistics.median(took),
        archive_bytes=int(statistics.median(sizes)),
        frozen_ms=frozen,
    )


def _told(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__}


@contextmanager
def _place(state_dir: Path, *, is_store: bool, store_bytes: int = 512 * MIB) -> Iterator[Place]:
    state_dir.mkdir(mode=0o700)
    if is_store:
        loop.ensure(state_dir, store_bytes)
    try:
        with shelf() as there:
            yield Place(state_dir, there)
    finally:
        loop.release(state_dir)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
