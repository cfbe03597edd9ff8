"""The arithmetic of bench.packing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import packing
from bench.parts import planetlab
from bench.parts.made_pool import made_pool
from bench.parts.vector_instances import PEERS, Instance, instances, known_least, parse, published
from bench.research.cloudsim import Outcome

_OUTCOME = Outcome(
    energy_kwh=100.0,
    migrations=1000,
    slatah=0.01,
    pdm=0.001,
    slav=1e-5,
    shutdowns=1,
    mean_hosts=9.0,
)


def _day(**ours: float) -> planetlab.Day:
    peer = replace(_OUTCOME, energy_kwh=150.0, migrations=20_000, slav=5e-5)
    outcomes = {
        planetlab.DVFS: _OUTCOME,
        planetlab.THRESHOLD: peer,
        planetlab.REGRESSION: peer,
        planetlab.OURS: replace(_OUTCOME, **ours),  # type: ignore[arg-type]
    }
    known = {planetlab.DVFS: planetlab.Published(100.0, 0, 0.0)}
    return planetlab.Day("20110303", 10, outcomes, known)


def test_an_instance_is_read_with_its_items_as_often_as_they_are_wanted() -> None:
    found = parse("one", "2\n10 20\n2\n1 2 3\n4 5 1\n")
    assert found.capacity.tolist() == [10, 20]
    assert found.sizes.tolist() == [[1, 2], [1, 2], [1, 2], [4, 5]]


def test_all_published_instances_are_there() -> None:
    every = instances()
    assert len(every) == 1080
    known = published("BCS-DP1-Avg-Dyn")
    assert sum(known[one.name] for one in every) == packing.TARGET_BINS
    assert sum(known_least().values()) == 53_080


@pytest.mark.parametrize("name", ["First Fit, largest first", "dot product (BCS-DP1-Avg-Dyn)"])
def test_peers_give_the_published_counts(name: str) -> None:
    algorithm, count = PEERS[name]
    known = published(algorithm)
    for one in instances()[::54]:
        assert count(one) == known[one.name], one.name


def test_peers_pack_halves_in_pairs() -> None:
    halves = Instance("halves", np.full((6, 2), 50.0), np.full(2, 100.0))
    assert [count(halves) for _, count in PEERS.values()] == [3, 3, 3, 3]


def test_bins_are_summed_and_counted_where_they_differ() -> None:
    one = Instance("a", np.full((4, 1), 50.0), np.full(1, 100.0))
    two = Instance("b", np.full((2, 1), 50.0), np.full(1, 100.0))
    found = packing.packed([one, two], lambda i: len(i.sizes) // 2, {"a": 2, "b": 2})
    assert (found.bins, found.published, found.differs) == (3, 4, 1)
    assert packing.packed([one], lambda i: len(i.sizes), {}).published == -1


def test_verdicts_of_a_good_day() -> None:
    found = planetlab.verdicts([_day()])
    assert not found.pop(
        "20110303: model's DVFS +0.00% energy and +100000.00% moves from CloudSim 3.0.3's,"
        " target within 2% and 5%"
    )
    assert all(found.values())
    assert "20110303: 100.0 kWh, target below LR-MMT's 150.0" in found
    assert "20110303: 1000 moves, target at most 2000" in found


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"energy_kwh": 151.0}, "kWh, target below"),
        ({"migrations": 2001}, "moves, target at most"),
        ({"slav": 3.2e-5}, "SLAV 3.20e-5"),
    ],
)
def test_what_is_missed_is_told(change: dict[str, float], text: str) -> None:
    missed = [said for said, met in planetlab.verdicts([_day(**change)]).items() if not met]
    assert sum(text in said for said in missed) == 1


def test_ratios_are_to_lr_mmt() -> None:
    assert planetlab.ratio(_day(), "energy_kwh") == 0.6667
    assert planetlab.ratio(_day(), "migrations") == 0.05


def test_missing_traces_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = packing.main(["--only", "planetlab", "--traces", str(tmp_path)])
    assert code == 0
    assert "PlanetLab skipped" in capsys.readouterr().out


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(SystemExit):
        packing.main(["--only", "bin"])


def test_a_made_pool_is_the_same_every_time() -> None:
    pool, placed = made_pool(10, 100, placed=True)
    again, _ = made_pool(10, 100, placed=True)
    assert (pool.load == again.load).all()
    assert (placed.host >= 0).all()
    assert pool.instances.sum() == 100
    waiting = made_pool(10, 100, placed=False)[1]
    assert (waiting.host < 0).all()
    assert (waiting.demands == placed.demands).all()
