"""What bench.scheduler reckons: verdicts, and that it says so when the trace is not there."""

from pathlib import Path

import numpy as np
import pytest

from bench import scheduler
from bench.research.compare import Row
from bench.research.outcome import Outcome


def rows(hosts: tuple[int, ...], overloaded: float, short: float = 0.0) -> dict[str, list[Row]]:
    return {
        scheduler.OURS: [
            Row("ours", Outcome(count, overloaded, 0, 0.0, short, 0.9), 1.0) for count in hosts
        ]
    }


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (rows((8, 9, 9), 0.0), [True, True, True]),
        (rows((9, 9, 9), 0.0001), [True, False, True]),
        (rows((9, 9, 9), 0.0), [True, True, True]),
        (rows((8, 9, 9), 0.001), [False, True, True]),
        (rows((9, 10, 9), 0.0), [False, False, True]),
        (rows((9, 9, 9), 0.0, short=0.01), [True, True, False]),
    ],
)
def test_nine_hosts_or_a_ten_thousandth_overloaded_are_the_limit(
    found: dict[str, list[Row]], met: list[bool]
) -> None:
    assert list(scheduler._bitbrains_verdicts(found).values()) == met


def test_a_trace_that_is_not_there_is_skipped_with_a_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scheduler._trace(tmp_path) is None
    assert f"skipped, there is no {tmp_path}/vms.csv" in capsys.readouterr().out


def test_made_up_shops_are_always_the_same_and_measured() -> None:
    first, again = scheduler.made_up(50), scheduler.made_up(50)
    assert first.tobytes() == again.tobytes()
    assert (first["hours"] >= 24).all()
    assert np.isfinite(scheduler._demands(first)).all()


def test_speed_is_measured_on_a_pool_that_has_room() -> None:
    speed = scheduler.measure_speed(repeats=5, instances=20_000, hosts=200)
    assert speed.histories_p50_ms > 0
    assert speed.bulk_per_second > 0
