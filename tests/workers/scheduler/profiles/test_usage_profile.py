"""What was measured becomes what is expected: shapes, peaks, cold instances, and the packed record."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workers.scheduler.demand_vector import (
    CPU_MEAN,
    CPU_SWING,
    DISK,
    F32,
    HOURS,
    MEMORY,
    NET_MEAN,
    flat,
)
from workers.scheduler.profiles.log_quantizer import ABSENT, AMOUNTS, encode
from workers.scheduler.profiles.usage_profile import (
    DEFAULT_HABITS,
    PROFILE,
    SLOTS,
    Hour,
    Profiles,
    demands,
    fold,
    prior,
    unmeasured,
    unpack,
)

MIB = 1024.0 * 1024.0
MONDAY = 480_000 // 168 * 168
LIMIT = np.array([[1000.0, 64 * MIB, 256 * MIB, 0.0]], np.float32)
COLD = flat(500.0, 32 * MIB, 16 * MIB, 1000.0)[None]


def hour(
    number: int,
    cpu: float | list[float],
    *,
    memory: float = 8 * MIB,
    network: float = 500.0,
    oom: float = 0.0,
) -> Hour:
    windows = np.full((1, 12), cpu, np.float32) if isinstance(cpu, float) else np.array([cpu])
    return Hour(
        number=number,
        cpu=windows,
        network=np.full(windows.shape, network),
        memory=np.array([memory]),
        disk=np.array([3 * MIB]),
        oom=np.array([oom]),
    )


def lived(
    hours: int, *, day: float = 100.0, night: float = 10.0, memory: float = 8 * MIB
) -> Profiles:
    """Busy from 8 to 20, quiet by night."""
    profiles = unmeasured(1)
    for number in range(MONDAY, MONDAY + hours):
        busy = day if 8 <= number % HOURS < 20 else night
        profiles = fold(profiles, hour(number, busy, memory=memory))
    return profiles


def demand(profiles: Profiles, cold: F32 = COLD, ceiling: F32 = LIMIT) -> F32:
    found: F32 = demands(profiles, cold, ceiling)[0]
    return found


@given(arrays(np.float64, 50, elements=st.floats(0.11, 900_000)))
def test_a_code_is_within_a_thirtieth_of_the_amount(amounts: npt.NDArray[np.float64]) -> None:
    assert np.abs(AMOUNTS[encode(amounts)] / amounts - 1).max() < 0.034


def test_nothing_used_and_nothing_measured_are_two_things() -> None:
    codes = encode(np.array([0.0, np.nan, 1e12]))
    assert codes.tolist() == [0, ABSENT, 254]
    assert AMOUNTS[codes[:2]].tolist() == [0.0, 0.0]


def test_a_profile_takes_a_few_hundred_bytes_and_comes_back_from_them() -> None:
    assert PROFILE.itemsize <= 800
    profiles = lived(30)
    assert unpack(profiles.tobytes()).tobytes() == profiles.tobytes()


def test_after_some_days_every_hour_stands_for_itself() -> None:
    found = demand(lived(96))
    assert found[CPU_MEAN][12] == pytest.approx(100, rel=0.04)
    assert found[CPU_MEAN][3] == pytest.approx(10, rel=0.04)
    assert found[CPU_SWING].max() < 5
    assert found[NET_MEAN][3] == pytest.approx(500, rel=0.04)
    assert found[DISK] == 3 * MIB


def test_with_too_few_days_all_hours_are_expected_alike() -> None:
    found = demand(lived(48))
    assert np.ptp(found[CPU_MEAN]) == 0
    assert 10 < found[CPU_MEAN][0] < 100
    assert found[CPU_SWING][0] > 30


def test_swings_inside_an_hour_and_between_days_are_both_in_the_deviation() -> None:
    steady, inside, between = unmeasured(1), unmeasured(1), unmeasured(1)
    for number in range(MONDAY, MONDAY + 168):
        today = 150.0 if number // HOURS % 2 else 50.0
        steady = fold(steady, hour(number, 100.0))
        inside = fold(inside, hour(number, [50.0, 150.0] * 6))
        between = fold(between, hour(number, today))
    assert demand(steady)[CPU_SWING].max() < 5
    assert demand(inside)[CPU_SWING][0] == pytest.approx(50, rel=0.05)
    assert demand(between)[CPU_SWING][0] == pytest.approx(50, rel=0.1)


def test_newer_days_weigh_more() -> None:
    profiles = unmeasured(1)
    for number in range(MONDAY, MONDAY + 168):
        profiles = fold(profiles, hour(number, 100.0 if number < MONDAY + 84 else 200.0))
    assert demand(profiles)[CPU_MEAN].mean() > 170


@given(
    st.lists(st.floats(1.0, 2000.0), min_size=1, max_size=40),
    st.floats(0.0, 1500.0),
)
def test_memory_is_never_planned_below_the_peak_and_its_margin(
    peaks: list[float], ceiling: float
) -> None:
    profiles = unmeasured(1)
    for number, peak in enumerate(peaks):
        profiles = fold(profiles, hour(MONDAY + number, 1.0, memory=peak * MIB))
    most = np.array([[0.0, ceiling * MIB, 0.0, 0.0]], np.float32)
    planned = demand(profiles, ceiling=most)[MEMORY] / MIB
    margin = max(peaks) * (1 + DEFAULT_HABITS.memory_margin)
    # A limit is enforced: no peak and no margin reaches beyond it.
    assert planned >= (min(margin, max(ceiling, *peaks)) if ceiling else margin) * 0.9999


def test_a_memory_peak_is_forgotten_after_eight_days_and_no_sooner() -> None:
    profiles = fold(unmeasured(1), hour(MONDAY, 1.0, memory=50 * MIB))
    for day in range(1, 8):
        profiles = fold(profiles, hour(MONDAY + day * HOURS, 1.0))
    assert demand(profiles)[MEMORY] > 50 * MIB
    profiles = fold(profiles, hour(MONDAY + 8 * HOURS, 1.0))
    assert profiles["memory"].max() == 8 * MIB


def test_running_out_of_memory_raises_what_is_planned() -> None:
    profiles = fold(lived(168), hour(MONDAY + 168, 10.0, oom=40 * MIB))
    assert demand(profiles)[MEMORY] > 40 * 1.2 * MIB


def test_an_instance_nobody_measured_counts_as_cold() -> None:
    assert np.array_equal(demand(unmeasured(1)), COLD[0])


def test_a_cold_instance_is_believed_by_and_by() -> None:
    early, late = demand(lived(6)), demand(lived(18))
    assert COLD[0][CPU_MEAN][3] > early[CPU_MEAN][3] > late[CPU_MEAN][3] > 10
    # Memory is not shared for a moment: it counts in full until the day is over.
    assert early[MEMORY] == late[MEMORY] == 32 * MIB
    assert demand(lived(24))[MEMORY] < 32 * MIB


def test_the_same_hour_folded_again_replaces_itself() -> None:
    once = lived(30)
    again = fold(once, hour(MONDAY + 29, 10.0))
    assert again.tobytes() == once.tobytes()


def test_hours_missed_are_not_those_of_last_week() -> None:
    profiles = fold(lived(168), hour(MONDAY + 168 + 10, 100.0))
    slots = [(MONDAY + 168 + number) % SLOTS for number in range(10)]
    assert set(profiles["cpu_mean"][0][slots].tolist()) == {ABSENT}
    assert (profiles["cpu_mean"][0] == ABSENT).sum() == 10


def test_an_hour_in_which_nothing_was_measured_changes_nothing() -> None:
    before = lived(30)
    after = fold(before, hour(MONDAY + 30, [float("nan")] * 12))
    assert after.tobytes() == before.tobytes()


def test_an_hour_older_than_the_week_changes_nothing() -> None:
    before = lived(200)
    assert fold(before, hour(MONDAY + 10, 999.0)).tobytes() == before.tobytes()


def test_a_prior_is_right_for_the_sum_of_many_new_instances() -> None:
    dice = np.random.default_rng(3)
    others = np.stack([flat(cpu, cpu * MIB, 0) for cpu in dice.lognormal(3, 1, 500)])
    found = prior(others)
    assert found[CPU_MEAN][0] == pytest.approx(others[:, 0].mean())
    assert found[CPU_SWING][0] == pytest.approx(others[:, 0].std())
    assert 0.04 < (others[:, MEMORY] > found[MEMORY]).mean() < 0.06


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60))
def test_many_at_once_are_what_each_would_be_alone(hours: int) -> None:
    rng = np.random.default_rng(hours)
    together, alone = unmeasured(3), [unmeasured(1) for _ in range(3)]
    for number in range(MONDAY, MONDAY + hours):
        cpu = np.where(rng.random((3, 12)) < 0.2, np.nan, rng.gamma(2, 50, (3, 12)))
        memory = rng.gamma(2, 4 * MIB, 3)
        zero = np.zeros(3)
        together = fold(together, Hour(number, cpu, cpu * 9, memory, zero, zero))
        alone = [
            fold(
                one,
                Hour(
                    number,
                    cpu[i : i + 1],
                    cpu[i : i + 1] * 9,
                    memory[i : i + 1],
                    zero[:1],
                    zero[:1],
                ),
            )
            for i, one in enumerate(alone)
        ]
    assert together.tobytes() == np.concatenate(alone).tobytes()
