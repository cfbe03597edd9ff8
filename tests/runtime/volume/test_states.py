"""Whatever a tenant has filled a volume with, it comes back exactly, and differences are small."""

import hashlib
import os
import random
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import ArchiveDamagedError, HostError
from runtime.system.trees import remove_tree
from runtime.units import KIB, MIB
from runtime.volume.archive import checked_path, entry_of
from runtime.volume.entries import EntryKind
from runtime.volume.volumes import _noted
from runtime.volume.walk import Walk, opened_tree
from tests.runtime.volume.conftest import Place

pytestmark = pytest.mark.root


def sha(tree: Path, tmp_path: Path) -> str:
    return _noted(tree, tmp_path / "manifest")


def fill(top: Path) -> None:
    (top / "plain").write_bytes(b"one")
    (top / "empty").touch()
    (top / "naïve\nname").write_bytes(b"two lines")
    (top / os.fsdecode(b"\xff\xfe no text")).write_bytes(b"bytes")
    (top / "deep" / "deeper").mkdir(parents=True)
    (top / "deep" / "deeper" / "file").write_bytes(os.urandom(200 * KIB))
    os.link(top / "plain", top / "deep" / "same")
    (top / "out").symlink_to("/etc/passwd")
    (top / "up").symlink_to("../../../..")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(top / "socket"))
    with (top / "holes").open("wb") as file:
        file.truncate(1 << 40)
        os.pwrite(file.fileno(), b"far", (1 << 39) + 17)
    (top / "power").write_bytes(b"#!/bin/sh")
    (top / "power").chmod(0o6755)
    os.setxattr(top / "plain", "user.mark", b"\0\1")
    os.setxattr(top / "deep", "user.mark", b"dir")
    for number, path in enumerate((top / "plain", top / "deep", top)):
        os.chown(path, 1000 + number, 60000)
    os.utime(top / "deep" / "deeper", ns=(1, 1_000_000_001))


def test_everything_in_a_volume_comes_back_as_it_was(place: Place, tmp_path: Path) -> None:
    top = place.volume()
    fill(top)
    saved = place.save()
    copy = place.load()
    (top / "socket").unlink()  # no archive takes it
    assert sorted(one.name for one in copy.iterdir()) == sorted(one.name for one in top.iterdir())
    os.utime(top, ns=(1, copy.stat().st_mtime_ns))
    assert sha(copy, tmp_path) == sha(top, tmp_path)
    assert (copy / "power").stat().st_mode & 0o7777 == 0o6755
    assert (copy / "plain").stat().st_ino == (copy / "deep" / "same").stat().st_ino
    assert (copy / "holes").stat().st_size == 1 << 40
    assert (copy / "holes").stat().st_blocks < 1000
    assert (copy / "out").readlink() == Path("/etc/passwd")
    assert saved.archive_bytes < 300 * KIB


def test_a_device_is_left_out_and_a_path_too_long_too(place: Place) -> None:
    top = place.volume()
    if place.state_dir.joinpath("store").exists():
        pytest.skip("the store is nodev")
    os.mknod(top / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    fd = os.open(top, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with opened_tree(top) as tree:
        walk = Walk(tree)
        found = [entry.path for entry in walk]
    assert "disk" not in found
    assert walk.skipped >= 2
    assert max(len(path) for path in found) <= 4000
    place.save()
    assert not (place.load() / "disk").exists()
    remove_tree(top)


def change(top: Path, dice: random.Random) -> None:  # noqa: C901, PLR0912, PLR0915 - a list of deeds
    """Do to a volume what programs do: write in place, replace, rename, link, remove, punch, touch."""
    names = [f"f{number}" for number in range(8)]
    path = top / dice.choice(["", "a", "a/b"]) / dice.choice(names)
    match dice.randrange(9):
        case 0 | 1:
            if path.parent.is_dir() and not path.is_dir():
                path.write_bytes(dice.randbytes(dice.choice([0, 10, 70_000, 300_000])))
        case 2:
            if path.is_file():
                with path.open("r+b") as file:
                    file.seek(dice.randrange(400_000))
                    file.write(dice.randbytes(100))
        case 3:
            if path.is_file():
                os.truncate(path, dice.randrange(200_000))
        case 4:
            if path.exists() and not path.is_dir():
                path.unlink()
        case 5:
            (top / "a" / "b").mkdir(parents=True, exist_ok=True)
        case 6:
            other = top / dice.choice(names)
            if path.is_file() and not other.exists():
                os.link(path, other)
        case 7:
            if (top / "a").is_dir() and dice.random() < 0.3:
                remove_tree(top / "a")
        case 8:
            new = top / "new"
            new.write_bytes(dice.randbytes(5000))
            target = top / dice.choice(names)
            if not target.is_dir():
                new.replace(target)


@pytest.mark.parametrize("seed", range(6))
def test_a_chain_of_differences_is_the_state_at_its_end(
    place: Place, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    top = place.volume()
    (top / "picture").write_bytes(dice.randbytes(2 * MIB))  # so that differences pay
    for _ in range(6):
        for _ in range(6):
            change(top, dice)
        place.save()
    copy = place.load()
    assert sha(copy, tmp_path) == sha(top, tmp_path)
    assert len(place.chain) > 1


def _cut_at_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _as_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("what", ["snp_00000001", "sum.snp_00000001", "directory", "loaded"])
@pytest.mark.parametrize("damage", [_cut_at_a_line, _empty, _as_a_directory])
def test_a_damaged_note_of_the_last_copy_spoils_no_later_one(
    place: Place, tmp_path: Path, what: str, damage: Callable[[Path], None]
) -> None:
    top = place.volume()
    for name in ("first", "second", "third"):
        (top / name).write_bytes(os.urandom(64 * KIB))
    place.save()
    note = place.state_dir / "snapshots" / "acme" / what
    note.touch()
    damage(note)
    # What a half known state lacks would come back to life: it went before the copy.
    (top / "third").unlink()
    saved = place.save()
    place.begin_to_run("acme")
    copy = place.load()
    assert sorted(one.name for one in copy.iterdir()) == ["first", "second"]
    assert sha(copy, tmp_path) == sha(top, tmp_path)
    (top / "fourth").write_text("later")
    assert place.save().base == saved.snapshot
    assert sha(place.load("again"), tmp_path) == sha(top, tmp_path)


def test_one_page_of_a_large_file_is_a_small_archive(place: Place) -> None:
    top = place.volume()
    (top / "database").write_bytes(os.urandom(8 * MIB))
    full = place.save()
    with (top / "database").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"order 7")
    part = place.save()
    assert part.base == full.snapshot
    assert part.archive_bytes < 80 * KIB < full.archive_bytes
    assert (place.load() / "database").read_bytes() == (top / "database").read_bytes()


def test_a_difference_of_nearly_all_is_a_full_one(place: Place) -> None:
    top = place.volume()
    (top / "database").write_bytes(os.urandom(MIB))
    place.save()
    (top / "database").write_bytes(os.urandom(MIB))
    assert place.save().base == ""


def test_times_that_were_set_back_hide_no_change(place: Place, tmp_path: Path) -> None:
    top = place.volume()
    (top / "filler").write_bytes(os.urandom(MIB))
    (top / "file").write_bytes(b"old")
    before = (top / "file").stat().st_mtime_ns
    place.save()
    (top / "file").write_bytes(b"new")
    os.utime(top / "file", ns=(before, before))
    (top / "other").touch()
    os.utime(top, ns=(before, before))
    assert not place.save().unchanged
    assert sha(place.load(), tmp_path) == sha(top, tmp_path)


def test_nothing_is_left_of_the_work(place: Place) -> None:
    fill(place.volume())
    place.save()
    place.load()
    assert list((place.state_dir / "snapshots" / ".work").iterdir()) == []
    names = {one.name for one in place.spaces.volume("copy").parent.iterdir()}
    assert not any(name.endswith(".load") for name in names)
    left = place.state_dir / "store" / ".snapshots"
    assert not left.exists() or list(left.iterdir()) == []


def test_a_damaged_state_is_noticed_as_a_whole(place: Place) -> None:
    top = place.volume()
    (top / "file").write_bytes(b"one" * 100_000)
    place.save()
    (top / "file").write_bytes(b"two" * 100_000)
    place.save(is_full=True)
    other = place.volume("copy")
    (other / "precious").write_bytes(b"kept")
    # An archive that is whole and well, of another snapshot.
    wrong = place.chain[-1]
    place.chain[:] = [replace(wrong, snapshot="snp_00000009")]
    place.shelf.kept["snp_00000009"] = place.shelf.kept[wrong.snapshot]
    with pytest.raises(HostError, match="is not snp_00000009"):
        place.load()
    assert (other / "precious").read_bytes() == b"kept"


@pytest.mark.parametrize("path", ["..", "a/../b", "/etc/passwd", "a//b", "./a", "a/", "a\0b", 7])
def test_no_path_of_an_archive_leads_out(path: object) -> None:
    with pytest.raises(HostError, match="cannot be used"):
        checked_path(path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "b"},
        {"uid": 65536},
        {"uid": -1},
        {"mode": 0o170000},
        {"size": -1},
        {"xattrs": {"security.capability": "00"}},
        {"path": "", "kind": "f"},
        {"kind": "h", "target": "../x"},
    ],
)
def test_what_an_archive_may_not_bring_is_refused(change: dict[str, object]) -> None:
    told: dict[str, object] = {
        "path": "file",
        "kind": EntryKind.FILE.value,
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": 1,
        "mtime": 1,
        "target": "",
        "xattrs": {},
    }
    assert entry_of(told).path == "file"
    with pytest.raises(HostError, match="cannot be used"):
        entry_of(told | change)


def test_a_volume_that_was_made_anew_is_told_until_a_copy_of_it_was_kept(place: Place) -> None:
    top = place.volume()
    (top / "orders").write_bytes(b"one")
    assert place.save().is_anew is False
    (top / "orders").write_bytes(b"two")
    assert place.save().is_anew is False
    # The directory is taken away, and another one with the same size of content is in its place.
    remove_tree(place.spaces.volume("acme"))
    top = place.volume()
    (top / "orders").write_bytes(b"six")
    assert place.save(is_full=True).is_anew
    place.chain.clear()  # its answer was lost, or it was not kept
    assert place.save().is_anew
    # The next one is a difference to a copy of this very directory: that was heard.
    (top / "orders").write_bytes(b"ten")
    assert place.save().is_anew is False
    assert place.save().is_anew is False


def test_a_volume_of_which_this_host_knows_nothing_is_told_as_made_anew(place: Place) -> None:
    (place.volume() / "orders").write_bytes(b"one")
    place.save()
    place.state_dir.joinpath("snapshots", "acme").rename(place.state_dir / "lost")
    assert place.save().is_anew


def test_a_volume_that_was_loaded_is_not_made_anew(place: Place) -> None:
    (place.volume() / "orders").write_bytes(b"one")
    place.save()
    place.load("acme")
    assert place.save().is_anew is False


def test_what_no_archive_takes_is_counted(place: Place) -> None:
    top = place.volume()
    for number in range(3):
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(top / f"socket-{number}"))
    (top / "file").write_bytes(b"one")
    saved = place.save()
    assert (saved.skipped, saved.files) == (3, 1)


def test_an_archive_of_another_state_is_named_when_it_is_refused(place: Place) -> None:
    top = place.volume()
    (top / "orders").write_bytes(b"one")
    first = place.save()
    (top / "orders").write_bytes(b"two")
    place.save(is_full=True)
    # What lies there is a whole archive, of something else.
    other = place.shelf.kept[place.chain[0].snapshot]
    place.shelf.kept[first.snapshot] = other
    place.chain[0] = replace(
        place.chain[0], snapshot=first.snapshot, sha256=hashlib.sha256(other).hexdigest()
    )
    with pytest.raises(ArchiveDamagedError) as caught:
        place.load()
    assert caught.value.details["snapshot"] == first.snapshot


def test_what_is_no_archive_at_all_is_named_when_it_is_refused(place: Place) -> None:
    (place.volume() / "orders").write_bytes(b"one")
    saved = place.save()
    place.shelf.kept[saved.snapshot] = b"no archive"
    place.chain[0] = replace(
        saved, sha256=hashlib.sha256(b"no archive").hexdigest(), archive_bytes=10
    )
    with pytest.raises(ArchiveDamagedError) as caught:
        place.load()
    assert caught.value.details["snapshot"] == saved.snapshot
