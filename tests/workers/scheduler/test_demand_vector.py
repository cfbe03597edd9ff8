"""What adds up, how a sum is read, and that a host's recorded week knows its true peak."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.scheduler.demand_vector import (
    CPU,
    CPU_MEAN,
    CPU_SQUARE,
    CPU_SWING,
    DEFAULT,
    DEMAND_WIDTH,
    LOAD_WIDTH,
    MEM,
    Rules,
    as_load,
    flat,
    highs,
    within_limit,
)
from workers.scheduler.profiles.history import HISTORY_WIDTH, beyond, expected
from workers.scheduler.profiles.log_quantizer import encode
from workers.scheduler.profiles.usage_profile import SLOTS, unmeasured


def swinging(mean: float, swing: float) -> np.ndarray:
    row = flat(mean, 1.0, 1.0)
    row[CPU_SWING] = swing
    return row


def limited(mean: float, swing: float, limit: float) -> tuple[float, float]:
    one = [np.array([value], np.float32) for value in (mean, swing, limit)]
    means, swings = within_limit(one[0], one[1], one[2])
    return float(means[0]), float(swings[0])


def test_independent_swings_add_as_squares_and_joint_ones_as_they_are() -> None:
    load = as_load(np.stack([swinging(100, 30), swinging(100, 40)])).sum(axis=0)
    apart, joint = Rules(correlation=0.0), Rules(correlation=1.0)
    assert highs(load, apart)[CPU] == pytest.approx(200 + apart.z * 50, rel=1e-5)
    assert highs(load, joint)[CPU] == pytest.approx(200 + joint.z * 70, rel=1e-5)


def test_the_chance_of_overload_is_that_of_a_normal_sum() -> None:
    dice = np.random.default_rng(5)
    load = as_load(np.stack([swinging(50, 20)] * 40)).sum(axis=0)
    high = highs(load, Rules(overload_chance=0.01, correlation=0.0))[CPU]
    sums = dice.normal(50, 20, (40, 20_000)).sum(axis=0)
    assert (sums > high).mean() == pytest.approx(0.01, abs=0.003)


def test_the_busiest_hour_decides_and_peaks_at_different_hours_share() -> None:
    morning, evening = flat(0, 0, 0), flat(0, 0, 0)
    morning[CPU_MEAN][8] = 100
    evening[CPU_MEAN][20] = 100
    assert highs(as_load(morning) + as_load(evening))[CPU] == 100
    assert highs(as_load(morning) + as_load(morning))[CPU] == 200


def test_memory_is_a_plain_sum() -> None:
    load = as_load(np.stack([flat(0, 3.0, 0), flat(0, 4.0, 0)])).sum(axis=0)
    assert highs(load)[MEM] == 7.0


def test_what_is_added_and_taken_off_again_never_makes_a_high_that_is_no_number() -> None:
    row = as_load(swinging(1e5, 3e4))
    load = np.zeros(LOAD_WIDTH, np.float32)
    for _ in range(50):
        load += row
    for _ in range(50):
        load -= row
    load[CPU_SQUARE] -= 1e-3
    assert np.isfinite(highs(load)).all()


@pytest.mark.parametrize(("mean", "swing", "limit"), [(4000, 4000, 8000), (6900, 2000, 8000)])
def test_nobody_is_expected_to_use_more_than_his_limit(
    mean: float, swing: float, limit: float
) -> None:
    row = limited(mean, swing, limit)
    assert row[0] >= mean
    assert highs(as_load(swinging(*row)))[CPU] == pytest.approx(limit, rel=1e-5)


@pytest.mark.parametrize(
    ("mean", "swing", "limit"), [(100, 50, 8000), (100, 50, 0), (9000, 0, 8000)]
)
def test_who_is_far_from_his_limit_is_booked_as_measured(
    mean: float, swing: float, limit: float
) -> None:
    """So is one that has none, and one that was measured above it."""
    assert limited(mean, swing, limit) == pytest.approx((mean, swing))


@pytest.mark.parametrize("busy", [0.2, 0.35, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("count", [1, 2, 4, 10, 20])
def test_many_who_are_either_idle_or_at_their_limit_add_up_to_what_they_use(
    busy: float, count: int
) -> None:
    """Against the very distribution of the sum: seldom an eighth more (a tenth of a host is left free for
    that), never more than all can use, and hardly more than without limits."""
    swing = float(np.sqrt(busy * (1 - busy)))
    load = as_load(swinging(*limited(1000 * busy, 1000 * swing, 1000.0))) * count
    high = highs(load)[CPU]
    at_once = np.random.default_rng(3).binomial(count, busy, 50_000)
    assert (at_once * 1000 > high * 1.125).mean() <= 0.05
    assert high <= 1000 * count * 1.0001
    unlimited = highs(as_load(swinging(1000 * busy, 1000 * swing)) * count)[CPU]
    assert high <= 1.05 * unlimited


def test_a_recorded_week_stays_below_the_limit_too() -> None:
    """Half of each hour flat out: the normal distribution would say 2.2 times the limit."""
    profiles = unmeasured(1)
    profiles["cpu_mean"], profiles["cpu_swing"] = encode(np.array([4000.0, 4000.0]))
    booked = swinging(*limited(4000.0, 4000.0, 8000.0))[None]
    week = beyond(profiles, booked, np.array([8000], np.float32))[0]
    assert expected(as_load(booked)[0], week)[CPU] == pytest.approx(8000, rel=0.04)
    assert expected(as_load(booked)[0], beyond(profiles, booked, np.zeros(1, np.float32))[0])[
        CPU
    ] == pytest.approx(13_300, rel=0.04)


def test_the_recorded_week_knows_the_peak_of_the_sum() -> None:
    """Machines that rise together, by hours nobody could guess from each one's habits."""
    dice = np.random.default_rng(11)
    storms = dice.random(SLOTS) < 0.05
    base = dice.gamma(2, 40, (30, SLOTS)) * (1 + 4 * storms)
    windows = base[:, :, None] * dice.lognormal(0, 0.4, (30, SLOTS, 12))
    profiles = unmeasured(30)
    profiles["cpu_mean"] = encode(windows.mean(axis=2))
    profiles["cpu_swing"] = encode(windows.std(axis=2))
    truth = windows.sum(axis=0).max()
    nothing = np.zeros((30, DEMAND_WIDTH), np.float32)
    for booked in (nothing, np.stack([swinging(40, 10)] * 30)):
        load = as_load(booked).sum(axis=0)
        week = beyond(profiles, booked, np.zeros(30, np.float32)).sum(axis=0)
        assert expected(load, week)[CPU] == pytest.approx(truth, rel=0.15)


def test_hours_not_measured_count_as_booked() -> None:
    booked = swinging(70, 0)[None]
    assert (
        expected(as_load(booked)[0], beyond(unmeasured(1), booked, np.zeros(1, np.float32))[0])[CPU]
        == 70
    )


def test_a_host_without_a_recorded_week_goes_by_its_daily_shape() -> None:
    load = as_load(swinging(70, 20))
    nothing = np.full(HISTORY_WIDTH, np.nan, np.float32)
    assert (expected(load, nothing) == highs(load)).all()


@given(
    st.lists(st.floats(-500, 500, width=16), min_size=24, max_size=24), st.floats(0, 300, width=16)
)
def test_what_is_decided_by_weeks_passes_the_guard_that_knows_only_shapes(
    hours: list[float], swing: float
) -> None:
    load = as_load(swinging(500, swing))
    week = np.zeros(HISTORY_WIDTH, np.float32)
    week[:168] = np.tile(np.array(hours, np.float32), 7)
    assert expected(load, week)[CPU] >= highs(load)[CPU] * DEFAULT.shares[CPU] * 0.9999
