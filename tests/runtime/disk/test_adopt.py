"""Volumes from before there was a store: taken into it whole, or left where they are."""

import os
from pathlib import Path

import pytest

from runtime.disk import Spaces, adopt
from runtime.errors import HostError
from runtime.units import MIB

pytestmark = pytest.mark.root


def _old_volume(state_dir: Path, name: str = "old") -> Path:
    plain = state_dir / "volumes" / name
    plain.mkdir(parents=True)
    (plain / "order").write_text("precious")
    (plain / "same").hardlink_to(plain / "order")
    (plain / "way-out").symlink_to("/etc/passwd")
    os.chown(plain / "order", 1000, 1001)
    os.chown(plain, 1000, 1001)
    return plain


def test_an_old_volume_is_taken_into_the_store_with_ids_and_links(
    spaces: Spaces, state_dir: Path
) -> None:
    plain = _old_volume(state_dir)
    assert adopt.waiting(state_dir) == ("old",)
    adopt.adopt(state_dir, "old")
    assert not plain.exists()
    assert adopt.waiting(state_dir) == ()
    place = spaces.volume("old")
    assert place == state_dir / "store" / "old" / "data"
    assert (place / "order").read_text() == "precious"
    assert (place.stat().st_uid, (place / "order").stat().st_gid) == (1000, 1001)
    assert (place / "order").stat().st_nlink == 2
    assert (place / "way-out").is_symlink()


def test_a_copy_that_was_cut_short_is_made_again(spaces: Spaces, state_dir: Path) -> None:
    plain = _old_volume(state_dir)
    spaces.quota.make("old")
    for name in ("data", ".data.new"):
        (state_dir / "store" / "old" / name).mkdir()
        (state_dir / "store" / "old" / name / "half").touch()
    assert spaces.volume("old") == plain, "the old one counts until the new one is whole"
    adopt.adopt(state_dir, "old")
    assert sorted(os.listdir(spaces.volume("old"))) == ["order", "same", "way-out"]  # noqa: PTH208


def test_a_volume_too_large_for_the_store_stays_where_it_is(
    spaces: Spaces, state_dir: Path
) -> None:
    plain = _old_volume(state_dir)
    (plain / "large").write_bytes(os.urandom(MIB) * 300)
    with pytest.raises(HostError):
        adopt.adopt(state_dir, "old")
    assert spaces.volume("old") == plain
    assert (plain / "order").read_text() == "precious"


def test_what_an_earlier_run_had_moved_away_is_deleted(state_dir: Path) -> None:
    moved = state_dir / "volumes" / ".old.moved"
    moved.mkdir(parents=True)
    (moved / "rest").touch()
    assert adopt.waiting(state_dir) == ()
    assert not moved.exists()
