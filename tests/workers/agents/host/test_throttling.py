"""Held back for a minute by the processor ceiling: when it begins, when it ends, when nobody knows."""

from typing import cast

from runtime.wire import JsonValue
from workers.agents.host.report import LINES_LIMIT, fit_last_lines
from workers.agents.host.throttling import Throttling, percent

Entries = list[dict[str, JsonValue]]
SECOND = 1_000_000_000


def run(
    throttling: Throttling, *, begin: int, seconds: int, share: float, base: float = 0
) -> float:
    """Readings every ten seconds from `begin` on; returns the counter at the end."""
    for at in range(begin, begin + seconds + 1, 10):
        throttling.note(float(at), {"ins_a": round((base + (at - begin) * share) * SECOND)})
    return base + seconds * share


def test_nothing_is_said_before_a_minute_is_known() -> None:
    throttling = Throttling()
    run(throttling, begin=0, seconds=50, share=0.9)
    assert throttling.shown("ins_a") == {}


def test_it_begins_above_a_quarter_and_ends_well_below_it() -> None:
    throttling = Throttling()
    used = run(throttling, begin=0, seconds=60, share=0.4)
    assert throttling.shown("ins_a") == {"throttled_percent": 40}
    used = run(throttling, begin=60, seconds=120, share=0.2, base=used)
    assert throttling.shown("ins_a") == {"throttled_percent": 40}, "it has not ended yet"
    run(throttling, begin=180, seconds=120, share=0.1, base=used)
    assert throttling.shown("ins_a") == {"throttled_percent": 0}


def test_a_shop_that_is_not_held_back_much_is_not() -> None:
    throttling = Throttling()
    run(throttling, begin=0, seconds=120, share=0.2)
    assert throttling.shown("ins_a") == {"throttled_percent": 0}
    assert throttling.shown("ins_unknown") == {}


def test_an_instance_that_left_is_forgotten() -> None:
    throttling = Throttling()
    run(throttling, begin=0, seconds=60, share=0.9)
    throttling.note(70.0, {})
    assert throttling.shown("ins_a") == {}


def test_a_counter_that_fell_began_anew() -> None:
    assert percent(50 * SECOND, 6 * SECOND, 60.0) == 10
    assert percent(0, 500 * SECOND, 60.0) == 100


def test_last_lines_of_a_thousand_crashed_shops_fit_into_a_report() -> None:
    few = [{"last_lines": ["a", "b"]}, {"last_lines": []}]
    fit_last_lines(cast(Entries, few))
    assert few == [{"last_lines": ["a", "b"]}, {"last_lines": []}]
    many = [{"last_lines": ["y" * 1000, "x" * 1000]} for _ in range(1000)]
    fit_last_lines(cast(Entries, many))
    assert sum(len(one["last_lines"][0]) for one in many) <= LINES_LIMIT
    assert many[0]["last_lines"][0].startswith("xxx")
