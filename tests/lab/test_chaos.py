"""Programs of three hosts are killed at random under mixed work: nothing is lost, doubled or left."""

import os
import random

import pytest

from bench.chaos import storm
from tests.lab.machines import Lab

pytestmark = [pytest.mark.lab, pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("minutes", [0.5, pytest.param(2.0, marks=pytest.mark.long)])
def test_kills_at_random_lose_nothing_double_nothing_and_leave_nothing(
    lab: Lab, minutes: float
) -> None:
    # Another run each time; the number is in the report, and STOA_CHAOS_SEED tells it again.
    seed = int(os.environ.get("STOA_CHAOS_SEED") or random.randrange(1_000_000))
    report = storm(lab, minutes=minutes, seed=seed, mark=f"chaos{minutes:g}-".replace(".", ""))
    print(report)
    assert report.faults
    assert report.orders > 0
    assert report.findings == [], f"seed {seed}: {report}"
