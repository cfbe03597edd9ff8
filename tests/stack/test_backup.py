"""A control plane is backed up, goes on, is lost, and comes back from the backup with its shops."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.test_kills import cgroups_of, wait_until
from tests.stack.test_restore import _COUNT, _ORDER, python
from tests.stoa import REPO, Stack, running

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A Stoa that nobody else uses: its record goes back in time."""
    yield from running("b")


def test_what_is_restored_starts_frozen_serves_and_stops_nobody(own: Stack, tmp_path: Path) -> None:
    passphrase, backup = tmp_path / "passphrase", own.home / "backup.stoa"
    passphrase.write_text("correct horse battery staple")
    stoa = [str(REPO / "bin" / "stoa"), "control"]
    old = sign_up(own, "old")
    python(own, old, _ORDER.format(count=3))
    arguments = ["--passphrase-file", str(passphrase)]
    made = own._call([*stoa, "backup", str(backup), *arguments])
    assert made.returncode == 0, made.stderr
    new = sign_up(own, "new")
    python(own, new, _ORDER.format(count=2))

    early = own._call([*stoa, "restore", str(backup), *arguments, "--yes"])
    assert early.returncode != 0
    assert "bin/down" in early.stderr
    assert own.down().returncode == 0
    back = own._call([*stoa, "restore", str(backup), *arguments, "--yes"])
    assert back.returncode == 0, back.stderr
    started = own.up()
    assert started.returncode == 0, started.stdout + started.stderr

    wait_until(lambda: own.get("old").status_code == 200, "the older shop serves")
    assert python(own, old, _COUNT) == "ok 3"
    assert python(own, new, _COUNT) == "ok 2"
    refused = own.api.post(
        "/api/v1/tenants", json={"slug": "later", "shop_name": "L", "email": "l@example.org"}
    )
    assert (refused.status_code, refused.json()["code"]) == (503, "frozen")
    wait_until(lambda: new in own._call([*stoa, "unknown"]).stdout, "the newer shop is named")
    assert own._call([*stoa, "thaw", "--yes"]).returncode == 0
    later = sign_up(own, "later")
    assert python(own, later, _COUNT) == "ok 0"
    assert python(own, old, _COUNT) == "ok 3"
    assert python(own, new, _COUNT) == "ok 2"  # nobody stopped what the record does not know


def sign_up(stack: Stack, slug: str) -> str:
    """Sign a shop up; its instance."""
    before = {folder.name for folder in cgroups_of(stack, "ins_*")}
    ended = stack.wait(stack.sign_up(slug)["operation"]["id"])
    assert ended["state"] == "succeeded", ended
    (instance,) = {folder.name for folder in cgroups_of(stack, "ins_*")} - before
    return instance
