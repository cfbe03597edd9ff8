"""A host says that its disks fill up before a tenant notices."""

import os
from pathlib import Path

import pytest

from runtime.disk import Spaces, Watermarks, conditions, loop, place, watermarks
from runtime.disk.fill import Fill, fill_of
from runtime.errors import SpecInvalidError
from runtime.units import MIB

NEVER = Watermarks(100, 100)


def test_a_disk_below_its_marks_is_not_worth_a_word(tmp_path: Path) -> None:
    assert conditions(tmp_path, NEVER) == []


def test_low_and_full_are_told_apart_and_name_the_place(tmp_path: Path) -> None:
    percent = max(1, fill_of(tmp_path).percent)
    (low,) = conditions(tmp_path, Watermarks(1, 100))
    assert low["kind"] == "disk_low"
    assert f"the file system of {tmp_path} is {percent} % full" in low["message"]
    (full,) = conditions(tmp_path, Watermarks(1, 1))
    assert full["kind"] == "disk_full"


@pytest.mark.root
def test_a_store_that_tenants_fill_is_told(state_dir: Path) -> None:
    assert place(state_dir) == state_dir / "store"
    assert not [one for one in conditions(state_dir, Watermarks()) if "store" in one["message"]]
    spaces = Spaces(state_dir)
    spaces.ensure("ins_test000001", "acme", ceiling=1024 * MIB, owner=(0, 0), is_new=True)
    size = spaces.quota.used("acme") + fill_of(state_dir / "store").free_bytes * 9 // 10
    (spaces.volume("acme") / "all").write_bytes(os.urandom(MIB) * (size // MIB))
    os.sync()
    told = [one for one in conditions(state_dir, Watermarks()) if "store" in one["message"]]
    assert [one["kind"] for one in told] == ["disk_low"]


@pytest.mark.root
def test_a_store_that_is_not_mounted_is_told(state_dir: Path) -> None:
    loop.release(state_dir)
    assert [one["kind"] for one in conditions(state_dir, NEVER)] == ["disk_unfit"]


def test_percent_is_counted_as_df_does() -> None:
    assert Fill(used_bytes=85, free_bytes=15).percent == 85
    assert Fill(used_bytes=0, free_bytes=0).percent == 100


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STOA_DISK_LOW_PERCENT": "many"}, "STOA_DISK_LOW_PERCENT is 'many'"),
        ({"STOA_DISK_FULL_PERCENT": "101"}, "from 1 to 100"),
        ({"STOA_DISK_LOW_PERCENT": "96"}, "must not be below STOA_DISK_LOW_PERCENT"),
    ],
)
def test_marks_that_make_no_sense_are_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SpecInvalidError, match=said):
        watermarks(environ)


def test_marks_come_from_the_environment() -> None:
    assert watermarks({}) == Watermarks(85, 95)
    assert watermarks({"STOA_DISK_LOW_PERCENT": "70"}) == Watermarks(70, 95)
