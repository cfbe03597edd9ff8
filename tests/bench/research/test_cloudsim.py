"""The model against figures worked out by hand; against the released simulator where traces are there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.parts import common, planetlab
from bench.research.cloudsim import STEPS, Floats, Move, World, replay, vm_kinds, watts
from bench.research.cloudsim_policies import (
    LocalRegression,
    Threshold,
    first_fit,
    least_watts,
    never,
)
from bench.research.planetlab import Estimates, Rebalancing, days, read_day

_TRACES = common.REPO.parent / "shared" / "data" / "planetlab"
_G4, _G5 = 0, 1


def _steady(*shares: float) -> Floats:
    return np.repeat(np.array(shares)[:, None], STEPS, axis=1)


def test_power_is_linear_between_readings() -> None:
    found = watts(np.array([_G4, _G4, _G5, _G5]), np.array([0.0, 0.25, 0.95, 1.0]))
    assert found.tolist() == pytest.approx([86.0, 94.3, 134.0, 135.0])


def test_machines_come_in_four_equal_blocks() -> None:
    assert vm_kinds(8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.bincount(vm_kinds(1052)).tolist() == [263, 263, 263, 263]


def test_a_steady_machine_costs_its_host_s_watts() -> None:
    """500 of 2500 MIPS on a G5 of 5320: 9.4 %, for all but the first interval."""
    outcome = replay(_steady(0.2), np.array([1]), never)
    power = 93.7 + (97.0 - 93.7) * (500 / 5320) * 10
    assert outcome.energy_kwh == pytest.approx(power * 300 * (STEPS - 2) / 3.6e6)
    assert outcome.migrations == 0
    assert outcome.slatah == outcome.pdm == 0.0


def test_a_host_that_is_asked_for_too_much_is_short() -> None:
    outcome = replay(_steady(1.0, 1.0, 1.0, 1.0), np.array([1, 1, 1, 1]), never)
    assert outcome.slatah == pytest.approx(1.0)
    assert outcome.pdm == 0.0


def test_a_machine_asks_for_no_more_than_a_core_has() -> None:
    """2500 MIPS on a G4 whose cores have 1860: short, though the host is half empty."""
    assert replay(_steady(1.0), np.array([0]), never).slatah == pytest.approx(1.0)
    assert replay(_steady(1.0), np.array([1]), never).slatah == 0.0


def test_a_move_costs_a_tenth_while_memory_is_copied() -> None:
    def once(world: World) -> Sequence[Move]:
        return [Move(0, 3)] if world.step == 2 else []

    outcome = replay(_steady(0.2), np.array([1]), once)
    seconds, counted = 870 / 62.5, (STEPS - 2) * 300
    assert outcome.migrations == 1
    assert outcome.pdm == pytest.approx(0.1 * seconds / counted)
    # The target counts as asked for in full and given a tenth until the machine is there.
    assert outcome.slatah == pytest.approx(seconds / (counted + seconds), rel=0.01)


def test_a_machine_that_asks_for_nothing_is_gone() -> None:
    traces = _steady(0.2, 0.2)
    traces[1, 5:] = 0.0
    seen: list[int] = []

    def watch(world: World) -> Sequence[Move]:
        seen.append(int((world.host >= 0).sum()))
        return []

    replay(traces, np.array([1, 3]), watch)
    assert seen[:6] == [2, 2, 2, 2, 1, 1]


def test_first_placements() -> None:
    """Large machines only where a core is large enough; two of 2500 MIPS to a G5."""
    assert first_fit(8)[:2].tolist() == [1, 1]
    spread = least_watts(8)
    assert len(set(spread.tolist())) == 8
    assert (spread[:4] % 2 == _G5).all()


def test_a_threshold_relieves_and_empties() -> None:
    world = World(np.full((8, STEPS + 1), 0.5), np.array([1, 1, 1, 1, 1, 1, 1, 3]))
    world.requested = world.vm_mips * 0.5
    world.used += np.bincount(world.host, world.requested, world.hosts) - world.used
    moves = Threshold(0.8)(world)
    gone = [move.vm for move in moves]
    assert 6 in gone  # the least memory first
    assert all(move.target != 1 for move in moves)


def test_estimates_learn_mean_and_swing() -> None:
    estimates = Estimates()
    rng = np.random.default_rng(1)
    for _ in range(200):
        demands = estimates.take(np.array([100.0, 100.0 + 20 * rng.standard_normal()]), np.ones(2))
    assert demands[0, 0] == pytest.approx(100, abs=0.1)
    assert demands[1, 0] == pytest.approx(100, abs=15)
    assert demands[1, 24] > demands[0, 24]


def test_rebalancing_gathers_machines_on_few_hosts_and_then_rests() -> None:
    traces = _steady(*[0.2] * 40)
    lazy = replay(traces, least_watts(40), never)
    outcome = replay(traces, least_watts(40), Rebalancing())
    assert outcome.energy_kwh < lazy.energy_kwh / 4
    assert outcome.migrations <= 40
    assert outcome.slatah < 0.01


def test_moves_are_bounded_by_the_day_s() -> None:
    assert (
        replay(_steady(*[0.2] * 40), least_watts(40), Rebalancing(moves_per_day=0.5)).migrations
        <= 40
    )


def test_a_line_that_is_no_day_is_named(tmp_path: Path) -> None:
    (tmp_path / "20110303.csv").write_text("one,1,2,3\n")
    assert days(tmp_path) == ("20110303",)
    with pytest.raises(ValueError, match="line 1: 3 readings where a day has 288"):
        read_day(tmp_path, "20110303")


def test_a_day_is_a_file_or_a_folder_as_published(tmp_path: Path) -> None:
    readings = [str(number % 100) for number in range(STEPS)]
    (tmp_path / "20110303.csv").write_text(
        f"a,{','.join(readings)}\nb,{','.join(readings[::-1])}\n"
    )
    (tmp_path / "20110412").mkdir()
    (tmp_path / "20110412" / "b").write_text("\n".join(readings[::-1]))
    (tmp_path / "20110412" / "a").write_text("\n".join(readings))
    (tmp_path / "cloudsim303_reference.csv").write_text("")
    assert days(tmp_path) == ("20110303", "20110412")
    assert (read_day(tmp_path, "20110303") == read_day(tmp_path, "20110412")).all()


@pytest.mark.slow
@pytest.mark.skipif(
    not _TRACES.is_dir(), reason=f"{_TRACES} is not there: PlanetLab has no licence"
)
@pytest.mark.long
def test_the_released_simulator_s_figures_are_reproduced() -> None:
    day = planetlab.measure(_TRACES, quick=True)[0]
    energy, moves = planetlab.deviation(day.outcomes[planetlab.DVFS], day.published[planetlab.DVFS])
    assert abs(energy) < 1e-4
    assert moves == 0
    for name in (planetlab.THRESHOLD, planetlab.REGRESSION):
        energy, moves = planetlab.deviation(day.outcomes[name], day.published[name])
        assert abs(energy) < 0.02, name
        assert abs(moves) < 0.05, name
    assert all(planetlab.verdicts([day]).values())


def test_a_line_through_ten_readings_is_continued() -> None:
    """Rising by 5 % of the host at every reading, it is relieved before it is full."""
    world = World(np.full((4, STEPS + 1), 0.5), np.array([1, 1, 1, 1]))
    policy = LocalRegression()
    moves: Sequence[Move] = []
    for share in np.linspace(0.2, 0.75, 10):
        world.requested = np.full(4, share * 5320 / 4)
        world.used += np.bincount(world.host, world.requested, world.hosts) - world.used
        moves = policy(world)
    assert not moves
    world.requested = np.full(4, 0.9 * 5320 / 4)
    world.used += np.bincount(world.host, world.requested, world.hosts) - world.used
    assert policy(world)
