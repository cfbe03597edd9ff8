"""Spaces on a real store: one limit for layer and volume, nothing left of what is removed."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.disk import Spaces, loop, next_limit
from runtime.disk import btrfs_calls as btrfs
from runtime.disk.descriptors import opened
from runtime.errors import SpecInvalidError
from runtime.units import MIB
from tests.runtime.hosts import wait_until

pytestmark = pytest.mark.root
ONE, OTHER = "ins_test000001", "ins_test000002"


def _fill(path: Path, amount: int = 200 * MIB) -> int:
    """Write until it is refused with EDQUOT; how much went in."""
    with path.open("ab", buffering=0) as file:
        return MIB * _until_refused(lambda _: file.write(os.urandom(MIB)), times=amount // MIB)


def _until_refused(act: Callable[[int], object], times: int = 100_000) -> int:
    """Do it until it is refused with EDQUOT; how often it was done."""
    for number in range(times):
        try:
            act(number)
        except OSError as error:
            if error.errno != errno.EDQUOT:
                raise
            return number
    raise AssertionError(f"done {times} times and never refused")


def _make(spaces: Spaces, instance_id: str = ONE, volume: str = "acme") -> tuple[Path, Path]:
    spaces.ensure(instance_id, volume, ceiling=20 * MIB, owner=(1000, 1000), is_new=True)
    layer = spaces.prepare_layer(instance_id, volume, owner=70000, fresh=True)
    return spaces.volume(volume), layer.upper


def test_layer_and_volume_share_one_ceiling(spaces: Spaces) -> None:
    volume, upper = _make(spaces)
    (volume / "half").write_bytes(os.urandom(10 * MIB))
    written = _fill(upper / "rest")
    assert 8 * MIB <= written <= 10 * MIB


def test_a_full_neighbour_takes_nothing_from_others(spaces: Spaces) -> None:
    volume, _ = _make(spaces)
    _fill(volume / "all")
    other, _ = _make(spaces, OTHER, "other")
    (other / "fine").write_bytes(os.urandom(10 * MIB))


def test_many_small_files_end_at_the_ceiling_too(spaces: Spaces) -> None:
    spaces.ensure(ONE, "acme", ceiling=2 * MIB, owner=(0, 0), is_new=True)
    place = spaces.volume("acme")
    _until_refused(lambda number: (place / f"a-file-with-a-name-of-some-length-{number}").touch())
    os.sync()
    assert spaces.usage()["acme"] <= 2 * MIB


def test_links_and_deep_directories_end_at_the_ceiling_too(spaces: Spaces) -> None:
    spaces.ensure(ONE, "acme", ceiling=1 * MIB, owner=(0, 0), is_new=True)
    place = spaces.volume("acme")
    (place / "one").touch()
    _until_refused(lambda number: (place / f"{number}{'x' * 200}").hardlink_to(place / "one"))
    spaces.ensure(OTHER, "other", ceiling=1 * MIB, owner=(0, 0), is_new=True)
    depth = [os.open(spaces.volume("other"), os.O_RDONLY)]

    def deeper(_: int) -> None:
        os.mkdir("d" * 200, dir_fd=depth[0])
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=depth[0])
        os.close(depth[0])
        depth[0] = below

    _until_refused(deeper)
    os.close(depth[0])
    spaces.remove(OTHER, "other", with_volume=True)  # pytest cannot, that deep


def test_holes_cost_nothing_and_filling_them_is_counted(spaces: Spaces) -> None:
    volume, _ = _make(spaces)
    with (volume / "sparse").open("wb") as file:
        file.truncate(19 * MIB)
    _fill(volume / "beside")
    fd = os.open(volume / "sparse", os.O_WRONLY)
    assert _until_refused(lambda number: os.pwrite(fd, os.urandom(MIB), number * MIB), 19) <= 1
    os.close(fd)


def test_at_the_ceiling_one_extra_is_granted_and_taken_back(spaces: Spaces) -> None:
    volume, _ = _make(spaces)
    _fill(volume / "all")
    spaces.limit(ONE, "acme", 20 * MIB)
    assert spaces.quota.limit_of("acme") == 21 * MIB
    (volume / "note").write_bytes(os.urandom(100_000))
    _fill(volume / "all")
    spaces.limit(ONE, "acme", 20 * MIB)
    assert spaces.quota.limit_of("acme") == 21 * MIB, "no second one"
    (volume / "all").unlink()
    os.sync()
    spaces.limit(ONE, "acme", 20 * MIB)
    assert spaces.quota.limit_of("acme") == 20 * MIB


def test_a_ceiling_is_changed_in_use(spaces: Spaces) -> None:
    volume, _ = _make(spaces)
    _fill(volume / "all")
    spaces.limit(ONE, "acme", 40 * MIB)
    assert _fill(volume / "all") >= 18 * MIB


def test_a_full_space_can_be_started_and_cleared(spaces: Spaces) -> None:
    volume, upper = _make(spaces)
    for number in range(200):
        (upper / f"file{number}").write_bytes(b"x" * 5000)
    _fill(volume / "all")
    spaces.limit(ONE, "acme", 20 * MIB)
    _fill(volume / "all")  # the extra as well
    with spaces.room_for_us(ONE, "acme"):
        layer = spaces.prepare_layer(ONE, "acme", owner=70000, fresh=True)
    assert list(layer.upper.iterdir()) == []
    assert spaces.quota.limit_of("acme") == 21 * MIB
    spaces.remove(ONE, "acme", with_volume=False)
    assert spaces.volumes() == ("acme",)


def test_a_limit_that_was_left_lifted_is_put_back(spaces: Spaces) -> None:
    _make(spaces)
    spaces.quota.limit("acme", None)
    spaces.limit(ONE, "acme", 20 * MIB)
    assert spaces.quota.limit_of("acme") == next_limit(0, 20 * MIB, None)


def test_removing_leaves_neither_files_nor_quota_groups(spaces: Spaces, state_dir: Path) -> None:
    for number in range(20):
        _make(spaces, f"ins_test{number:06d}", f"shop-{number}")
    with opened(loop.mount_point(state_dir)) as top:
        before = len(btrfs.all_referenced(top))
        assert before >= 20
        for number in range(20):
            spaces.remove(f"ins_test{number:06d}", f"shop-{number}", with_volume=True)
            spaces.remove(f"ins_test{number:06d}", f"shop-{number}", with_volume=True)
        assert spaces.usage() == {}

        def gone() -> bool:
            os.sync()
            spaces.quota.tidy()
            return len(btrfs.all_referenced(top)) == before - 20

        wait_until(gone, seconds=30, what="the groups are gone", pause=0.1)


def test_usage_of_all_comes_in_one_read(spaces: Spaces) -> None:
    for number in range(30):
        _make(spaces, f"ins_test{number:06d}", f"shop-{number}")
    (spaces.volume("shop-7") / "goods").write_bytes(os.urandom(3 * MIB))
    os.sync()
    usage = spaces.usage()
    assert len(usage) == 30
    assert 3 * MIB <= usage["shop-7"] <= 4 * MIB
    assert usage["shop-8"] < 100_000
    assert set(spaces.quota.limits().values()) == {20 * MIB}


def test_volumes_of_an_earlier_layout_stay_where_they_are(spaces: Spaces, state_dir: Path) -> None:
    plain = state_dir / "volumes" / "old"
    plain.mkdir(parents=True)
    (plain / "order").write_text("precious")
    spaces.ensure(ONE, "old", ceiling=20 * MIB, owner=(0, 0), is_new=True)
    assert spaces.volume("old") == plain
    assert (spaces.volume("old") / "order").read_text() == "precious"
    assert spaces.volumes() == ("old",)
    assert spaces.is_plain(ONE, "old")
    spaces.remove(ONE, "old", with_volume=True)
    assert not plain.exists()
    assert spaces.volumes() == ()


@pytest.mark.parametrize("name", ["..", "a/b", ".acme.new", "acme\n"])
def test_a_name_that_could_leave_the_store_is_refused(spaces: Spaces, name: str) -> None:
    with pytest.raises(SpecInvalidError):
        spaces.volume(name)


def test_without_a_store_volumes_are_plain_directories(tmp_path: Path) -> None:
    spaces = Spaces(tmp_path)
    spaces.ensure(ONE, "acme", ceiling=MIB, owner=(0, 0), is_new=True)
    path = spaces.volume("acme")
    (path / "data").write_text("precious")
    spaces.ensure(ONE, "acme", ceiling=MIB, owner=(0, 0), is_new=True)
    assert (path / "data").read_text() == "precious"
    assert spaces.volumes() == ("acme",)
    assert (tmp_path / "volumes").stat().st_mode & 0o777 == 0o700
    spaces.remove(ONE, "acme", with_volume=True)
    spaces.remove(ONE, "acme", with_volume=True)
    assert spaces.volumes() == ()


def test_what_lies_behind_a_link_is_not_counted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "big").write_bytes(b"x" * 1_000_000)
    spaces = Spaces(tmp_path / "host")
    spaces.ensure(ONE, "acme", ceiling=MIB, owner=(0, 0), is_new=True)
    (spaces.volume("acme") / "way-out").symlink_to(elsewhere)
    (spaces.volume("acme") / "small").write_bytes(b"x" * 5000)
    assert 5000 <= spaces.plain_bytes(ONE, "acme") < 20_000
