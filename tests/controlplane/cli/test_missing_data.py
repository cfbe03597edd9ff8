"""`stoa tenants data`: what is missing is said, and a choice is made after typing or --yes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.cli.test_cli import OPERATION, Console, stoa
from tests.controlplane.cli.test_snapshots import SNAPSHOT

MISSING = {
    "is_missing": True,
    "is_waiting": False,
    "since": "2026-11-24T10:00:00Z",
    "reason": "volume x: /srv/x is not there",
    "choices": ["wait", "newest", "copy", "empty"],
    "copies": [SNAPSHOT],
}


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    path = "/api/v1/tenants/acme"
    made.answers |= {
        f"GET {path}/data": (200, MISSING),
        f"POST {path}/data": (202, {"operation": OPERATION}),
    }
    yield made
    made.close()


def test_what_is_missing_is_said_with_the_copies(console: Console, tmp_path: Path) -> None:
    told = stoa(console, tmp_path, "tenants", "data", "acme")
    assert "is missing since 2026-11-24 10:00:00 UTC" in told.stdout
    assert "/srv/x is not there" in told.stdout
    assert "snp_0123456789abcdef" in told.stdout


def test_a_choice_that_loses_something_wants_a_word(console: Console, tmp_path: Path) -> None:
    refused = stoa(console, tmp_path, "tenants", "data", "acme", "--begin-empty")
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    both = stoa(console, tmp_path, "tenants", "data", "acme", "--newest", "--begin-empty")
    assert both.returncode == 2
    done = stoa(console, tmp_path, "tenants", "data", "acme", "--newest", "--yes", "--no-wait")
    assert done.returncode == 0, done.stderr
