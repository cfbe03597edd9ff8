"""How many hosts are needed: never fewer than possible, and far fewer than at each one's own high."""

import numpy as np
import pytest

from bench.research.sums import loads_by_host
from workers.scheduler.demand_vector import CPU_SWING, DEFAULT, F32, flat, highs
from workers.scheduler.hosts_needed import hosts_needed
from workers.scheduler.types import Resources

_GIB = 1024**3
_OFFERED = Resources(cpu_millis=4000, memory_bytes=8 * _GIB, disk_bytes=100 * _GIB)


def _swinging(count: int) -> F32:
    rows = np.stack([flat(50, 64 * 1024**2, 0)] * count)
    rows[:, CPU_SWING] = 100
    return rows


def test_swings_are_shared_in_bulk() -> None:
    """Together they need far less than each at its own high."""
    needed = hosts_needed(_swinging(400), Resources(cpu_millis=8000, memory_bytes=64 * _GIB))
    alone = float(highs(_with_squares(_swinging(1)))[0, 0])
    assert needed.hosts < 0.6 * (400 * alone / (8000 * DEFAULT.shares[0]))
    assert needed.least <= needed.hosts
    assert needed.scarce == "processor"


def _with_squares(rows: F32) -> F32:
    return loads_by_host(rows, np.zeros(len(rows), np.int64), 1)


def test_many_instances_are_counted_by_a_sample() -> None:
    offered = Resources(cpu_millis=64_000, memory_bytes=16 * _GIB)
    few = hosts_needed(np.repeat(_swinging(1), 4_000, axis=0), offered)
    many = hosts_needed(np.repeat(_swinging(1), 40_000, axis=0), offered)
    assert many.hosts == pytest.approx(10 * few.hosts, rel=0.02)


def test_an_instance_larger_than_a_host_is_told_and_counted_as_one() -> None:
    rows = np.stack([flat(1, 100 * _GIB, 0), flat(1, _GIB, 0)])
    needed = hosts_needed(rows, _OFFERED)
    assert (needed.hosts, needed.too_large) == (2, 1)


def test_no_instances_need_no_hosts() -> None:
    assert hosts_needed(np.zeros((0, 98), np.float32), _OFFERED).hosts == 0
