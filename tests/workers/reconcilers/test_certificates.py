"""Certificates that end soon are an alarm while there is time to run bin/up."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.secrets import pool_ca
from workers.reconcilers import certificates

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "alarms"),
    [
        (0, {}),
        (340, {}),
        (360, {"certificate.depot": "ends in 37 days; run bin/up"}),
        (400, {"certificate.depot": "has ended; run bin/up"}),
    ],
)
def test_they_are_told_of_before_they_end(
    tmp_path: Path, days: int, alarms: dict[str, str]
) -> None:
    pool_ca.ensure(tmp_path, {"depot": "root"}, ["127.0.0.1"], now=NOW)
    found = certificates.running_out(tmp_path, NOW + timedelta(days=days))
    assert found.keys() == alarms.keys()
    assert all(words in found[key] for key, words in alarms.items())


def test_where_there_are_none_nothing_is_said(tmp_path: Path) -> None:
    assert certificates.running_out(tmp_path, NOW) == {}
