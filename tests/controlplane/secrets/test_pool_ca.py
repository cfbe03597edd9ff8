"""The pool's CA: made once, certificates again when they would stop being right."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.secrets import pool_ca

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PLACES = ["127.0.0.1", "localhost", "10.1.2.3"]


def ensure(folder: Path, *, places: list[str] = PLACES, now: datetime = NOW) -> list[str]:
    return pool_ca.ensure(folder, {"depot": "root"}, places, now=now)


def test_a_repeat_makes_nothing(tmp_path: Path) -> None:
    assert ensure(tmp_path) == ["pool-ca", "depot"]
    assert ensure(tmp_path) == []


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    ensure(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}


@pytest.mark.parametrize(
    ("places", "days", "made"),
    [
        (PLACES[::-1], 0, []),
        ([*PLACES, "10.9.9.9"], 0, ["depot"]),
        (PLACES, 330, []),
        (PLACES, 340, ["depot"]),
    ],
)
def test_a_certificate_is_made_again_when_it_runs_out_or_places_change(
    tmp_path: Path, places: list[str], days: int, made: list[str]
) -> None:
    ensure(tmp_path)
    ca = (tmp_path / "pool-ca.crt").read_bytes()
    assert ensure(tmp_path, places=places, now=NOW + timedelta(days=days)) == made
    assert (tmp_path / "pool-ca.crt").read_bytes() == ca


@pytest.mark.parametrize("lost", ["pool-ca.key", "pool-ca.crt"])
def test_a_half_written_ca_is_made_anew_and_with_it_what_it_signed(
    tmp_path: Path, lost: str
) -> None:
    ensure(tmp_path)
    (tmp_path / lost).write_text("")
    assert ensure(tmp_path) == ["pool-ca", "depot"]
