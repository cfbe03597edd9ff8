"""The arithmetic of the benchmarks: a wrong percentile would prove anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import footprint
from bench.footprint import Footprint
from bench.parts import common
from bench.parts.common import Round


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.5, 10), (0.95, 19), (0.99, 20), (1.0, 20)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert common.percentile([float(number) for number in range(20, 0, -1)], share) == value


def test_one_measurement_is_all_its_percentiles() -> None:
    assert common.percentile([7.0], 0.5) == common.percentile([7.0], 0.95) == 7.0


def test_a_table_has_a_line_for_each_row_and_straight_columns() -> None:
    lines = common.table(("what", "ms"), [("docker run", 300), ("x", 5)]).splitlines()
    assert [line.rstrip()[-4:] for line in lines[2:]] == [" 300", "   5"]
    assert len({len(line) for line in lines}) == 1


def test_starts_are_numbered_through_and_timed_apart() -> None:
    seen: list[int] = []

    def start(number: int, every_seconds: float) -> float:
        seen.append(number)
        return float(number)

    found = common.measure(start, one_by_one=3, at_once=2)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert found.one_by_one == (0.0, 1.0, 2.0)
    assert sorted(found.at_once) == [3.0, 4.0]


def test_a_round_without_any_at_once_says_so() -> None:
    assert common.round_row("x", Round((5.0,), (), 0.0))[3:] == ("–", "–", "–")


def test_own_memory_is_what_was_written_to_not_what_was_mapped() -> None:
    text = "00400000-7fff rollup\nRss: 9000 kB\nPss_Anon: 3000 kB\nPss_File: 1990 kB\nPss_Shmem: 10 kB\n"
    assert common.own_bytes(text) == 3010 * 1024


def test_disk_counts_blocks_and_files_with_two_names_once(tmp_path: Path) -> None:
    empty = footprint.disk_bytes(tmp_path)
    (tmp_path / "data").write_bytes(b"x" * 10_000)
    os.link(tmp_path / "data", tmp_path / "again")
    (tmp_path / "link").symlink_to("/etc")
    assert footprint.disk_bytes(tmp_path) == empty + 12_288


def test_a_figure_that_a_neighbour_made_meets_no_target() -> None:
    moved = Footprint(10, -80_000_000, 3_000_000, 40_000, settled=False)
    verdicts = footprint._verdicts(moved)
    assert [text for text, met in verdicts.items() if not met] == [
        "memory did not settle: run this while the machine does nothing else"
    ]


def test_memory_of_a_neighbour_is_told_apart_from_that_of_the_tree() -> None:
    work = "import sys; x = bytearray(30_000_000); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert common.process_memory(child.pid) > 30_000_000
        # pytest's own process is the root: the child is below it; for the child, pytest is outside.
        with_child, without = common.memory_outside(child.pid), common.memory_outside(os.getpid())
        assert with_child - without > common.process_memory(os.getpid()) // 2
        child.communicate()
    assert common.process_memory(child.pid) == 0
