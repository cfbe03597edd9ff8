"""The simulator counts what it should, others' rules are theirs, and ours runs through it."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.research import rules, traces
from bench.research.compare import HostSize, Ours, compare
from bench.research.learn import demands_of, profiles_of
from bench.research.living import live
from bench.research.outcome import outcome
from bench.research.packers import best_fit, spread, target_load
from bench.research.traces import WEEK, Trace
from workers.scheduler.demand_vector import CPU_MEAN, MEMORY
from workers.scheduler.rebalancing.usage_model import UsageModel

GIB = 1024.0**3
SIZE = HostSize(cpu_millis=8000.0, memory_bytes=16 * GIB)


def trace(machines: int = 24, weeks: int = 2, seed: int = 1) -> Trace:
    """Busy by day, each at an hour of its own; sold four times what it uses."""
    dice = np.random.default_rng(seed)
    hour = np.arange(WEEK * weeks) / 12
    level = 1.1 + np.cos((hour - dice.normal(14, 2, (machines, 1))) * 2 * np.pi / 24)
    cpu = (
        level * dice.uniform(50, 400, (machines, 1)) * dice.lognormal(0, 0.2, (machines, len(hour)))
    )
    memory = np.broadcast_to(dice.uniform(0.2, 1, (machines, 1)) * GIB, cpu.shape)
    ceilings = np.zeros((machines, 4), np.float32)
    ceilings[:, 0], ceilings[:, 1] = 2000, 4 * GIB
    return Trace(cpu.astype(np.float32), memory.astype(np.float32), ceilings, start=480_000)


def flat_trace(cpu: list[list[float]]) -> Trace:
    wanted = np.array(cpu, np.float32)
    return Trace(wanted, np.zeros_like(wanted), np.zeros((len(cpu), 4), np.float32), start=480_000)


def test_overload_is_counted_by_host_and_window() -> None:
    machines = flat_trace([[60, 60, 10, 10], [60, 10, 10, 10], [10, 10, 10, np.nan]])
    found = outcome(machines, np.array([0, 0, 7]), cpu_millis=100.0, memory_bytes=1.0)
    assert found.hosts == 2
    assert found.overloaded == 1 / 8
    assert found.overload_seconds == 300
    assert found.unmet == pytest.approx(20 / 260)
    assert found.highest == pytest.approx(1.2)


def test_memory_that_is_not_there_is_counted_apart() -> None:
    machines = trace(4, weeks=1)
    found = outcome(machines, np.zeros(4, np.int64), cpu_millis=1e9, memory_bytes=0.1 * GIB)
    assert (found.overloaded, found.short_of_memory) == (0.0, 1.0)


def taking_turns() -> Trace:
    """Two machines that swing between 10 and 60, one when the other does not."""
    return flat_trace([[10, 60] * (WEEK // 2), [60, 10] * (WEEK // 2)])


@pytest.mark.parametrize(
    ("make", "together"),
    [
        (rules.highest, 120.0),
        (partial(rules.percentile, share=0.95), 120.0),
        (partial(rules.sigmas, count=2.0), 70 + 2 * np.sqrt(2 * 25**2)),
        (partial(rules.hourly, share=0.95), 120.0),
        (partial(rules.replayed, share=1.0), 70.0),
    ],
)
def test_the_rules_of_others_read_a_sum_their_own_way(
    make: Callable[[Trace], UsageModel], together: float
) -> None:
    gauge = make(taking_turns())
    assert gauge.read(gauge.rows.sum(axis=0))[0] == pytest.approx(together)


def test_best_fit_fills_and_spread_spreads() -> None:
    rows = np.array([[40.0, 0], [40, 0], [30, 0]], np.float32)
    gauge = UsageModel(rows, lambda sums: sums, lambda sums: sums[..., 0])
    limits = np.array([100.0, 1.0])
    assert best_fit(gauge, limits).tolist() == [0, 0, 1]
    assert len(set(spread(gauge, limits, 3).tolist())) == 3


def test_target_load_fills_up_to_the_target_and_then_goes_elsewhere() -> None:
    machines = flat_trace([[30.0] * 4] * 4)
    hosts = target_load(machines, cpu_millis=100.0, memory_bytes=1.0, target=70.0)
    assert np.bincount(hosts).tolist() == [2, 2]


def test_what_agents_would_report_is_what_the_scheduler_learns() -> None:
    machines = trace(weeks=1)
    demands = demands_of(machines, profiles_of(machines))
    assert demands[:, CPU_MEAN].mean(axis=1) == pytest.approx(machines.cpu.mean(axis=1), rel=0.1)
    assert (demands[:, MEMORY] >= machines.memory.max(axis=1)).all()


def test_every_rule_is_looked_at_and_ours_needs_fewer_hosts_than_ceilings() -> None:
    machines = trace()
    rows = {row.name: row for row in compare(machines.weeks(1, 1), machines.weeks(2, 2), SIZE)}
    ceilings, ours = rows["by limit; best fit"].outcome, rows["ours, in bulk"].outcome
    assert ours.hosts < ceilings.hosts / 1.5
    assert ours.overloaded == 0
    assert len(rows) == len(rules.RULES) + 4
    assert rows["ours, one by one"].outcome.hosts <= ours.hosts + 1


def test_the_same_trace_gives_the_same_plan() -> None:
    seen = trace().weeks(1, 1)
    assert Ours.of(seen, SIZE).in_bulk().tolist() == Ours.of(seen, SIZE).in_bulk().tolist()
    assert Ours.of(seen, SIZE).one_by_one().tolist() == Ours.of(seen, SIZE).one_by_one().tolist()


def test_a_pool_lives_by_the_products_own_functions() -> None:
    found = live(trace(), SIZE, 9, every_hours=24)
    assert len(found.weeks) == 2
    assert found.weeks[1].most_hosts < 6
    assert found.weeks[1].overload_seconds == 0
    assert found.weeks[1].short_of_memory == 0


def test_too_few_hosts_end_the_bench_with_the_reason() -> None:
    with pytest.raises(SystemExit, match="1 hosts have no room for machine"):
        live(trace(), SIZE, 1, every_hours=24)


def test_a_recorded_trace_is_read_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "vms.csv").write_text(
        "vm,cores,cpu_cap_mhz,mem_cap_mib,samples\n4,2,5200,1024,3\n2,1,2600,512,3\n"
    )
    for name, rows in (
        ("cpu_mhz", "2,26,,9999\n4,2600,0,5200\n"),
        ("mem_mib", "2,1,2,3\n4,4,5,\n"),
    ):
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            file.write(rows)
    found = traces.bitbrains(tmp_path)
    assert found.ceilings[:, 0].tolist() == [2000, 1000]
    assert np.nan_to_num(found.cpu, nan=-1).tolist() == [[1000, 0, 2000], [10, -1, 1000]]
    assert found.memory[1].tolist() == [1024**2, 2 * 1024**2, 3 * 1024**2]
