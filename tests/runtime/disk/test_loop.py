"""The store in a file: made whole, mounted once, grown in use, gone without a trace."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.disk import Spaces, loop
from runtime.disk.fill import fill_of
from runtime.errors import HostError, HostUnfitError
from runtime.units import GIB, MIB
from tests.runtime.hosts import wait_until

pytestmark = pytest.mark.root


def _mounts(place: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(place) in line]


def test_a_store_is_mounted_once_and_closed_to_others(state_dir: Path) -> None:
    again = loop.ensure(state_dir, 999 * GIB)
    assert (again.kind, again.total_bytes) == ("btrfs", 256 * MIB)
    (mount,) = _mounts(state_dir)
    assert {"nosuid", "nodev", "noatime"} <= set(mount.split()[3].split(","))
    assert loop.mount_point(state_dir).stat().st_mode & 0o777 == 0o700
    assert loop.image_path(state_dir).stat().st_mode & 0o777 == 0o600


def test_releasing_leaves_the_data_and_neither_mount_nor_device(state_dir: Path) -> None:
    spaces = Spaces(state_dir)
    spaces.ensure("ins_test000001", "acme", ceiling=10 * MIB, owner=(7, 8), is_new=True)
    (spaces.volume("acme") / "order").write_text("precious")
    loop.release(state_dir)
    loop.release(state_dir)
    assert _mounts(state_dir) == []
    assert _devices(state_dir) == []
    loop.remount(state_dir)
    assert (spaces.volume("acme") / "order").read_text() == "precious"
    assert spaces.quota.limit_of("acme") == 10 * MIB


def test_a_copy_of_the_mount_in_another_namespace_holds_nothing(state_dir: Path) -> None:
    with _namespace_of_its_own() as elsewhere:
        copies = Path(f"/proc/{elsewhere}/mountinfo")
        assert str(state_dir) in copies.read_text()
        loop.release(state_dir)
        assert _devices(state_dir) == []
        assert str(state_dir) not in copies.read_text()


@contextmanager
def _namespace_of_its_own() -> Iterator[int]:
    """A process that has copies of every mount there is now; its pid."""
    argv = ["unshare", "--mount", "--propagation", "private", "sleep", "60"]
    with subprocess.Popen(argv) as process:
        ours = Path("/proc/self/ns/mnt").readlink()
        wait_until(
            lambda: (
                Path(f"/proc/{process.pid}/ns/mnt").readlink() != ours
                and Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n"
            )
        )
        yield process.pid
        process.kill()


def _devices(state_dir: Path) -> list[str]:
    attached = Path("/sys/block").glob("loop*/loop/backing_file")
    return [text for one in attached if str(state_dir) in (text := one.read_text())]


def test_a_store_that_is_not_mounted_is_not_taken_for_an_empty_one(state_dir: Path) -> None:
    loop.release(state_dir)
    with pytest.raises(HostUnfitError, match=r"is not mounted on .*store up"):
        Spaces(state_dir).volume("acme")


def test_what_is_deleted_in_the_store_leaves_no_hole_in_its_file(state_dir: Path) -> None:
    big = loop.mount_point(state_dir) / "big"
    big.write_bytes(bytes(64 * MIB))
    os.sync()
    big.unlink()
    os.sync()
    stat = loop.image_path(state_dir).stat()
    assert stat.st_blocks * 512 >= stat.st_size == 256 * MIB


def test_a_store_grows_while_it_is_in_use(state_dir: Path) -> None:
    place = loop.mount_point(state_dir) / "open"
    with place.open("w") as file:
        assert loop.grow(state_dir, 320 * MIB).total_bytes == 320 * MIB
        file.write("still here")
    assert place.read_text() == "still here"
    stat = loop.image_path(state_dir).stat()
    assert stat.st_blocks * 512 >= stat.st_size == 320 * MIB
    with pytest.raises(HostError, match="it only grows"):
        loop.grow(state_dir, 256 * MIB)


def test_a_store_larger_than_the_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="choose a smaller STOA_STORE_BYTES"):
        loop.ensure(tmp_path, 10**15)
    assert not loop.image_path(tmp_path).exists()


def test_a_store_too_small_for_btrfs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="must have at least"):
        loop.ensure(tmp_path, 5 * MIB)


def test_what_a_run_that_was_killed_left_does_not_hinder_the_next(state_dir: Path) -> None:
    loop.release(state_dir)
    loop.image_path(state_dir).unlink()
    (state_dir / ".store.img.new").write_bytes(b"half a store")
    assert loop.ensure(state_dir, 256 * MIB).kind == "btrfs"
    assert not (state_dir / ".store.img.new").exists()


def test_without_a_size_nothing_is_made_and_disks_are_measured(tmp_path: Path) -> None:
    store = loop.ensure(tmp_path, 0)
    assert (store.kind, store.is_loop) == ("measured", False)
    assert not loop.image_path(tmp_path).exists()


def test_the_size_nobody_chose_leaves_a_fifth_of_the_disk(tmp_path: Path) -> None:
    found, size = fill_of(tmp_path), loop.size_unasked(tmp_path)
    assert size <= 20 * GIB
    left = found.free_bytes - size
    assert size == 0 or left >= (found.used_bytes + found.free_bytes) // 5
