"""`stoa host drain` and its like: what is asked, what is told, how it ends."""

import json
from pathlib import Path

from tests.controlplane.cli.test_cli import OPERATION, Console, console, stoa

__all__ = ["console"]

DRAIN = {
    "host": "one",
    "state": "running",
    "total": 3,
    "moved": 1,
    "left": 2,
    "still_there": 2,
    "longest_held_ms": 410,
    "seconds": 4.0,
    "eta_seconds": 8.0,
    "under_way": [{"tenant": "acme", "operation": "op_1", "step": "copy"}],
    "troubles": [
        {
            "tenant": "beta",
            "operation": "op_2",
            "message": "no room",
            "is_retried": True,
            "at": None,
        }
    ],
}
DONE = DRAIN | {"state": "done", "moved": 3, "left": 0, "under_way": [], "troubles": []}


def test_a_drain_is_followed_until_the_host_is_empty(console: Console, tmp_path: Path) -> None:
    console.answers["POST /api/v1/hosts/one/drain"] = (202, DRAIN)
    console.answers["GET /api/v1/hosts/one/drain"] = (200, DONE)
    done = stoa(console, tmp_path, "host", "drain", "one")
    assert done.returncode == 0, done.stderr
    assert "1 of 3 moved, 1 under way, 1 could not leave yet, about 8 s left" in done.stderr
    assert done.stdout.strip() == (
        "one is empty after 4 s; visitors of one shop waited 410 ms at most"
    )
    told = json.loads(stoa(console, tmp_path, "host", "drain", "one", "--json").stdout)
    assert told["state"] == "done"


def test_a_drain_without_room_says_the_numbers(console: Console, tmp_path: Path) -> None:
    refused = "1 of the 3 shops on one have room on other open hosts"
    console.answers["POST /api/v1/hosts/one/drain"] = (503, {"detail": refused})
    done = stoa(console, tmp_path, "host", "drain", "one")
    assert done.returncode != 0
    assert refused in done.stderr


def test_how_far_it_is_and_stopping_it(console: Console, tmp_path: Path) -> None:
    console.answers["GET /api/v1/hosts/one/drain"] = (200, DRAIN)
    console.answers["DELETE /api/v1/hosts/one/drain"] = (200, DRAIN | {"state": "cancelled"})
    status = stoa(console, tmp_path, "host", "drain-status", "one")
    assert "beta: no room (op_2)" in status.stderr
    console.answers["GET /api/v1/hosts/one"] = (200, {"name": "one", "state": "cordoned"})
    told = stoa(console, tmp_path, "host", "undrain", "one").stdout
    assert "one: cordoned; 1 shops had left, 2 stay" in told


def test_one_shop_is_moved_to_a_host(console: Console, tmp_path: Path) -> None:
    moved = OPERATION | {"verb": "move"}
    console.answers["POST /api/v1/tenants/acme/move"] = (202, {"operation": moved})
    console.answers["GET /api/v1/operations/op_1"] = (200, moved)
    done = stoa(console, tmp_path, "tenants", "move", "acme", "--to", "two")
    assert done.returncode == 0, done.stderr
    assert ("POST", "/api/v1/tenants/acme/move", {"to": "two"}) in console.asked
    assert "move acme: succeeded" in done.stdout
