"""A database under steady writes is put away whole, every time, whichever way its file system takes."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from runtime.volume.capture import Stillness
from tests.runtime.volume.conftest import Place

pytestmark = pytest.mark.root

TIMES = 12
# Each transaction changes a large table and a small one; both must tell the same.
WRITER = """
import random, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(f"PRAGMA journal_mode={sys.argv[2]}")
db.execute("PRAGMA synchronous=NORMAL")
db.execute("PRAGMA mmap_size=1000000")
db.execute("CREATE TABLE IF NOT EXISTS line (id INTEGER PRIMARY KEY, amount, note)")
db.execute("CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY, amount)")
db.execute("INSERT OR IGNORE INTO total VALUES (1, 0)")
print("ready", flush=True)
while True:
    db.execute("BEGIN IMMEDIATE")
    for _ in range(random.randrange(1, 20)):
        amount = random.randrange(1000)
        db.execute("INSERT INTO line (amount, note) VALUES (?, ?)", (amount, "x" * random.randrange(500)))
        db.execute("UPDATE total SET amount = amount + ?", (amount,))
    if random.random() < 0.2:
        low = random.randrange(1000000)
        gone = db.execute("SELECT COALESCE(sum(amount), 0) FROM line WHERE id % 50 = ?", (low % 50,)).fetchone()[0]
        db.execute("DELETE FROM line WHERE id % 50 = ?", (low % 50,))
        db.execute("UPDATE total SET amount = amount - ?", (gone,))
    db.execute("COMMIT")
"""  # noqa: E501


@contextmanager
def writing(database: Path, mode: str) -> Iterator["subprocess.Popen[bytes]"]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(database), mode], stdout=subprocess.PIPE
    )
    assert writer.stdout
    assert writer.stdout.readline() == b"ready\n"
    try:
        yield writer
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def frozen_by_signal(writer: "subprocess.Popen[bytes]") -> Stillness:
    def freeze(_one: str, _seconds: float) -> None:
        writer.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(_one: str) -> bool:
        writer.send_signal(signal.SIGCONT)
        return True

    return Stillness(("writer",), freeze, thaw)


def check(database: Path) -> int:
    """How many lines there are; the database is whole and its two tables tell the same."""
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        count, lines = db.execute("SELECT count(*), COALESCE(sum(amount), 0) FROM line").fetchone()
        assert (lines,) == db.execute("SELECT amount FROM total").fetchone()
        return int(count)


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate"])
def test_every_snapshot_under_writes_is_a_whole_database(place: Place, mode: str) -> None:
    database = place.volume() / "shop.db"
    counts = []
    with writing(database, mode) as writer:
        place.stillness = frozen_by_signal(writer)
        time.sleep(0.3)
        for _ in range(TIMES):
            place.save()
            time.sleep(0.03)
            copy = place.load()
            place.begin_to_run("copy")  # opening it may roll a transaction back
            counts.append(check(copy / "shop.db"))
    assert max(counts) > 0
    assert len(set(counts)) > TIMES // 2  # it was being written to all the time
