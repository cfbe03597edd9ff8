"""A shop with orders, on a real Stoa: copied off its host while it sells, and taken back to that state."""

from typing import Any

import pytest

from tests.stack.test_kills import cgroups_of
from tests.stack.test_what_happened import wait_for
from tests.stoa import Stack

pytestmark = pytest.mark.stack

_ORDER = (
    "import sqlite3; db = sqlite3.connect('/data/shop.db', isolation_level=None);"
    '[db.execute(\'INSERT INTO purchase VALUES (NULL, hex(randomblob(8)), 1, "new", "Ann",'
    ' "a@example.com", "1 Street", "", 500, "EUR")\') for _ in range({count})]'
)
_COUNT = (
    "import sqlite3; db = sqlite3.connect('/data/shop.db');"
    "print(db.execute('PRAGMA integrity_check').fetchone()[0],"
    " db.execute('SELECT count(*) FROM purchase').fetchone()[0])"
)


def test_a_restore_brings_the_orders_of_that_moment_and_the_way_back_the_later_ones(
    stack: Stack,
) -> None:
    before = {folder.name for folder in cgroups_of(stack, "ins_*")}
    made = stack.sign_up("seller")
    assert stack.wait(made["operation"]["id"])["state"] == "succeeded"
    (instance,) = {folder.name for folder in cgroups_of(stack, "ins_*")} - before
    python(stack, instance, _ORDER.format(count=3))
    assert stack.api.post("/api/v1/tenants/seller/snapshots").status_code == 202
    early = wait_for(lambda: snapshots(stack))[0]
    python(stack, instance, _ORDER.format(count=4))
    assert python(stack, instance, _COUNT) == "ok 7"

    operation = restore(stack, early["id"])
    assert operation["state"] == "succeeded", operation
    assert python(stack, instance, _COUNT) == "ok 3"
    assert stack.get("seller").status_code == 200

    (safety,) = [one for one in snapshots(stack) if one["reason"] == "risky"]
    assert restore(stack, safety["id"])["state"] == "succeeded"
    assert python(stack, instance, _COUNT) == "ok 7"


def restore(stack: Stack, snapshot: str) -> dict[str, Any]:
    answer = stack.api.post("/api/v1/tenants/seller/restore", json={"snapshot": snapshot})
    assert answer.status_code == 202, answer.text
    return stack.wait(answer.json()["operation"]["id"])


def snapshots(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.api.get("/api/v1/tenants/seller/snapshots").json()[
        "results"
    ]
    return found


def python(stack: Stack, instance: str, code: str) -> str:
    return stack.run(
        "python", "-m", "runtime", "exec", instance, "--", "python3", "-c", code
    ).strip()
