"""Reading many cgroups through files that stay open: recorded ones, made anew, and more than may be open."""

import os
from pathlib import Path

import pytest

from runtime.cgroup.layout import Version
from runtime.cgroup.meter import SOURCES, Meter
from tests.runtime.cgroup.test_readings import V1, V2, V2_OLD

ONE, TWO = "ins_00000001", "ins_00000002"


@pytest.mark.parametrize(("version", "texts"), [(Version.V1, V1), (Version.V2, V2)])
@pytest.mark.parametrize("keep_open", [0, 100])
def test_each_pass_gives_what_the_files_say_by_then(
    tmp_path: Path, version: Version, texts: dict[str, str], keep_open: int
) -> None:
    meter = recorded(tmp_path, version, texts, keep_open=keep_open)
    first = meter.usage(ONE)
    (tmp_path / "pids" / ONE / "pids.current").write_text("9\n")
    second = meter.usage(ONE)
    assert first is not None
    assert second is not None
    assert (first.pids, second.pids, first.oom_kills) == (2, 9, 3)
    assert meter.oom_kills(ONE) == 3
    assert meter.usage(TWO) is None
    assert meter.oom_kills(TWO) == 0
    meter.close()


def test_a_kernel_without_peak_disks_and_pressure_is_read_all_the_same(tmp_path: Path) -> None:
    meter = recorded(tmp_path, Version.V2, V2_OLD, keep_open=100)
    found = meter.usage(ONE)
    assert found is not None
    assert (found.pids, found.memory_peak_bytes, found.io_stall_micros) == (1, 0, None)
    meter.close()


def test_no_more_files_stay_open_than_allowed_and_none_of_what_is_gone(tmp_path: Path) -> None:
    before = open_files()
    meter = recorded(tmp_path, Version.V1, V1, keep_open=len(SOURCES[Version.V1]))
    write(tmp_path, Version.V1, V1, TWO)
    for one in (ONE, TWO):
        assert meter.usage(one) is not None
    assert open_files() - before == len(V1)
    meter.keep_only({TWO})
    assert open_files() == before
    assert meter.usage(TWO) is not None
    meter.forget(TWO)
    assert open_files() == before


def recorded(root: Path, version: Version, texts: dict[str, str], *, keep_open: int) -> Meter:
    """A meter over plain files that hold the recorded texts for instance ONE."""
    write(root, version, texts, ONE)
    places = {source.controller: str(root / source.controller) for source in SOURCES[version]}
    return Meter(version, places, keep_open=keep_open)


def write(root: Path, version: Version, texts: dict[str, str], instance_id: str) -> None:
    for source in SOURCES[version]:
        if source.name in texts:
            place = root / source.controller / instance_id
            place.mkdir(parents=True, exist_ok=True)
            (place / source.name).write_text(texts[source.name])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
