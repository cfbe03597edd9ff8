"""`stoa alarm`: what is open, and a test that waits until every channel has taken it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.cli.test_cli import Console, stoa


def notice(channel: str, *, sent: bool, error: str = "", key: str = "test.1") -> dict[str, object]:
    return {
        "channel": channel,
        "kind": "test",
        "key": key,
        "message": "m",
        "at": "2026-11-24T10:00:00Z",
        "sent_at": "2026-11-24T10:00:01Z" if sent else None,
        "attempts": int(bool(error)),
        "error": error,
    }


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    made.answers["POST /api/v1/alarms/test"] = (202, {"key": "test.1"})
    yield made
    made.close()


def answer(console: Console, *notices: dict[str, object]) -> None:
    alarm = {
        "key": "host.one.0.disk_full",
        "kind": "host.<host>.<place>.disk_full",
        "severity": "critical",
        "message": "one is full",
        "remedy": "Add a host.",
        "since": "2026-11-24T10:00:00Z",
    }
    body = {"results": [alarm], "channels": ["mail", "webhook"], "notices": [*notices]}
    console.answers["GET /api/v1/alarms"] = (200, body)


def test_open_alarms_are_listed_with_what_could_not_be_told(
    console: Console, tmp_path: Path
) -> None:
    answer(console, notice("mail", sent=False, error="refused", key="disk.one"))
    told = stoa(console, tmp_path, "alarm", "list")
    assert "one is full" in told.stdout
    assert "critical" in told.stdout
    assert "host.<host>.<place>.disk_full: Add a host." in told.stderr
    assert "alarms are sent by mail and webhook" in told.stderr
    assert "not sent yet by mail: disk.one (refused)" in told.stderr


def test_a_test_ends_well_when_every_channel_has_taken_it(console: Console, tmp_path: Path) -> None:
    answer(console, notice("mail", sent=True), notice("webhook", sent=True))
    told = stoa(console, tmp_path, "alarm", "test")
    assert (told.returncode, told.stdout) == (0, "mail: taken\nwebhook: taken\n")


def test_a_test_that_a_channel_does_not_take_says_why(console: Console, tmp_path: Path) -> None:
    answer(console, notice("mail", sent=True), notice("webhook", sent=False, error="answered 500"))
    told = stoa(console, tmp_path, "alarm", "test")
    assert told.returncode == 1
    assert "webhook has not taken it: answered 500" in told.stderr
