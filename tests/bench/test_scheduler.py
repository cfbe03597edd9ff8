"""What bench.scheduler reckons: verdicts, and that it says so when the trace is not there."""

from pathlib import Path

import numpy as np
import pytest

from bench import scheduler
from bench.parts import placing_speed
from bench.research.living import Life, Week


def weeks(
    hosts: int, overloaded: float, moves: int, short: float = 0.0, often: int = 1
) -> dict[str, Life]:
    rough = Week(9.0, 20, 0.1, 9, 0.1, 900, 9, 9)
    quiet = Week(float(hosts), hosts, overloaded, 0, short, moves, often, 0)
    return {scheduler.IN_ORDER: Life((rough, quiet, quiet), 1.0)}


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (weeks(9, 0.0001, 250), [True, True, True, True, True]),
        (weeks(10, 0.0, 9), [False, True, True, True, True]),
        (weeks(9, 0.0002, 9), [True, False, True, True, True]),
        (weeks(9, 0.0, 251), [True, True, False, True, True]),
        (weeks(9, 0.0, 9, short=0.01), [True, True, True, False, True]),
        (weeks(9, 0.0, 9, often=2), [True, True, True, True, False]),
    ],
)
def test_the_weeks_after_the_first_are_held_to_the_aim(
    found: dict[str, Life], met: list[bool]
) -> None:
    assert list(scheduler._living_verdicts(found).values()) == met


def test_a_trace_that_is_not_there_is_skipped_with_a_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scheduler._trace(tmp_path) is None
    assert f"skipped, there is no {tmp_path}/vms.csv" in capsys.readouterr().out


def test_made_up_shops_are_always_the_same_and_measured() -> None:
    first, again = placing_speed.made_up(50), placing_speed.made_up(50)
    assert first.tobytes() == again.tobytes()
    assert (first["hours"] >= 24).all()
    assert np.isfinite(placing_speed._demands(first)).all()


def test_speed_is_measured_on_a_pool_that_has_room() -> None:
    speed = placing_speed.measure_speed(repeats=5, instances=20_000, hosts=200)
    assert speed.histories_p50_ms > 0
    assert speed.bulk_per_second > 0
