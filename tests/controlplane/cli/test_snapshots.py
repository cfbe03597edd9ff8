"""`stoa snapshots`: copies listed, asked for and gone back to, the last after typing or --yes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.cli.test_cli import OPERATION, Console, stoa

SNAPSHOT = {
    "id": "snp_0123456789abcdef",
    "taken_at": "2026-11-24T10:00:00Z",
    "reason": "periodic",
    "volume_bytes": 10240,
    "archive_bytes": 1740,
    "files": 1,
    "skipped": 203,
    "doubt": "shrunk",
    "is_difference": False,
    "checked_at": "2026-11-24T10:00:01Z",
}
SCHEDULE = {"period_minutes": 60, "taken_at": None, "due_at": None, "failures": 0}


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    path = "/api/v1/tenants/acme"
    made.answers |= {
        f"GET {path}/snapshots": (200, {"schedule": SCHEDULE, "results": [SNAPSHOT]}),
        f"POST {path}/snapshots": (202, SCHEDULE),
        f"POST {path}/snapshots/accept": (200, {"accepted": 2}),
        f"POST {path}/restore": (202, {"operation": OPERATION}),
    }
    yield made
    made.close()


def test_copies_are_listed_and_asked_for(console: Console, tmp_path: Path) -> None:
    told = stoa(console, tmp_path, "snapshots", "list", "acme")
    assert "snp_0123456789abcdef" in told.stdout
    assert "10 KiB" in told.stdout
    assert "shrunk, 203 files left out" in told.stdout
    assert "2 copies" in stoa(console, tmp_path, "snapshots", "accept", "acme").stdout
    assert "every 60 min; next: not planned yet" in told.stderr
    found = stoa(console, tmp_path, "snapshots", "list", "acme", "--json").stdout
    assert json.loads(found)["results"] == [SNAPSHOT]
    assert "on its way" in stoa(console, tmp_path, "snapshots", "take", "acme").stdout


def test_going_back_asks_first(console: Console, tmp_path: Path) -> None:
    words = ("snapshots", "restore", "acme", SNAPSHOT["id"])
    refused = stoa(console, tmp_path, *map(str, words))
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert console.asked == []
    done = stoa(console, tmp_path, *map(str, words), "--yes")
    assert done.returncode == 0, done.stderr
    assert console.asked[0] == (
        "POST",
        "/api/v1/tenants/acme/restore",
        {"snapshot": SNAPSHOT["id"]},
    )
