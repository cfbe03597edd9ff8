"""The image store: what it takes, what it refuses, and that hostile layers stay where they are put."""

# Names are what is compared here.
# ruff: noqa: PTH208

import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.errors import ImageUnknownError, SpecInvalidError
from runtime.image import ImageStore
from tests.runtime.image.layouts import (
    HERE,
    Entry,
    directory,
    hardlink,
    layer,
    sha256,
    symlink,
    write_layout,
)

pytestmark = [
    pytest.mark.root,
]
ROOT = Path(__file__).resolve().parents[3]
APP = Entry("bin/app", b"#!/bin/sh\n", mode=0o755)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def imported(store: ImageStore, tmp_path: Path, *layers: bytes) -> Path:
    write_layout(tmp_path / "layout", layers)
    return store.rootfs(store.import_layout(tmp_path / "layout", "app"))


def test_an_imported_image_has_its_files_owners_modes_and_times(
    store: ImageStore, tmp_path: Path
) -> None:
    rootfs = imported(
        store,
        tmp_path,
        layer(directory("srv", 0o750), Entry("srv/x", b"hi", mode=0o4640, uid=7, gid=9)),
    )
    found = (rootfs / "srv/x").stat()
    assert (rootfs / "srv/x").read_bytes() == b"hi"
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (7, 9, 0o4640)
    assert int(found.st_mtime) == 1_700_000_000
    assert stat.S_IMODE((rootfs / "srv").stat().st_mode) == 0o750


def test_the_digest_is_that_of_the_manifest_and_the_image_is_listed_by_it(
    store: ImageStore, tmp_path: Path
) -> None:
    digest = write_layout(tmp_path / "layout", [layer(APP)])
    assert store.import_layout(tmp_path / "layout", "shop:1") == digest
    (status,) = store.list()
    assert (status.digest, status.name, status.users) == (digest, "shop:1", ())
    assert status.disk_bytes > 0


def test_a_second_import_only_changes_the_name(store: ImageStore, tmp_path: Path) -> None:
    rootfs = imported(store, tmp_path, layer(APP))
    before = rootfs.stat().st_ino
    digest = store.import_layout(tmp_path / "layout", "other")
    assert store.rootfs(digest).stat().st_ino == before
    assert [status.name for status in store.list()] == ["other"]


def test_a_tar_of_a_layout_is_as_good_as_the_directory(store: ImageStore, tmp_path: Path) -> None:
    digest = write_layout(tmp_path / "layout", [layer(APP)])
    with tarfile.open(tmp_path / "layout.tar", "w") as tar:
        tar.add(tmp_path / "layout", arcname=".")
    assert store.import_layout(tmp_path / "layout.tar", "app") == digest
    assert (store.rootfs(digest) / "bin/app").exists()


def test_later_layers_replace_and_whiteouts_remove(store: ImageStore, tmp_path: Path) -> None:
    rootfs = imported(
        store,
        tmp_path,
        layer(Entry("a", b"old"), Entry("gone", b""), directory("d"), Entry("d/gone", b"")),
        layer(Entry("a", b"new"), Entry(".wh.gone"), Entry("d/.wh.gone"), Entry("d/kept", b"")),
    )
    assert (rootfs / "a").read_bytes() == b"new"
    assert sorted(os.listdir(rootfs)) == ["a", "d"]
    assert os.listdir(rootfs / "d") == ["kept"]


def test_an_opaque_directory_hides_lower_layers_but_not_its_own(
    store: ImageStore, tmp_path: Path
) -> None:
    rootfs = imported(
        store,
        tmp_path,
        layer(directory("d"), Entry("d/low", b""), directory("d/sub"), Entry("d/sub/low", b"")),
        # The mark comes after a file of its own layer on purpose: order must not matter.
        layer(directory("d"), directory("d/sub"), Entry("d/sub/own", b""), Entry("d/.wh..wh..opq")),
    )
    assert os.listdir(rootfs / "d") == ["sub"]
    assert os.listdir(rootfs / "d/sub") == ["own"]


def test_hard_links_share_their_file(store: ImageStore, tmp_path: Path) -> None:
    rootfs = imported(store, tmp_path, layer(APP, hardlink("bin/other", "bin/app")))
    assert (rootfs / "bin/app").stat().st_ino == (rootfs / "bin/other").stat().st_ino


def test_a_directory_takes_the_place_of_a_link_of_a_lower_layer(
    store: ImageStore, tmp_path: Path
) -> None:
    rootfs = imported(
        store, tmp_path, layer(symlink("d", "/etc")), layer(directory("d"), Entry("d/x", b"1"))
    )
    assert not (rootfs / "d").is_symlink()
    assert (rootfs / "d/x").read_bytes() == b"1"


def test_capabilities_and_overlay_attributes_are_dropped_and_user_attributes_kept(
    store: ImageStore, tmp_path: Path
) -> None:
    power = {"security.capability": "x" * 20, "trusted.overlay.opaque": "y", "user.note": "kept"}
    rootfs = imported(store, tmp_path, layer(Entry("bin/app", b"", xattrs=power)))
    assert os.listxattr(rootfs / "bin/app") == ["user.note"]


def test_devices_are_left_out(store: ImageStore, tmp_path: Path) -> None:
    rootfs = imported(store, tmp_path, layer(APP, Entry("dev/mem", kind=tarfile.CHRTYPE)))
    assert not (rootfs / "dev/mem").exists()


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/../escaped"])
def test_a_member_that_climbs_is_refused_and_nothing_is_left(
    store: ImageStore, tmp_path: Path, name: str
) -> None:
    with pytest.raises(SpecInvalidError, match="leads out of the image"):
        imported(store, tmp_path, layer(Entry(name, b"")))
    assert store.list() == ()
    assert os.listdir(tmp_path / "store" / "work") == []


def test_links_that_lead_out_end_inside_the_image(store: ImageStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    rootfs = imported(
        store,
        tmp_path,
        layer(
            symlink("exit", str(outside)), symlink("up", "../../../../../../../../" + str(outside))
        ),
        layer(
            directory(str(outside).lstrip("/")),
            Entry("exit/victim", b"written"),
            Entry("up/second", b"written"),
            Entry("exit/.wh.victim"),
        ),
    )
    assert (outside / "victim").read_text() == "untouched"
    assert os.listdir(outside) == ["victim"]
    inside = rootfs / str(outside).lstrip("/")
    assert sorted(os.listdir(inside)) == ["second", "victim"]


def test_a_hard_link_to_a_file_of_the_host_is_refused(store: ImageStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    with pytest.raises(SpecInvalidError, match="cannot be unpacked"):
        imported(store, tmp_path, layer(hardlink("stolen", str(secret))))
    assert store.list() == ()


def test_an_owner_that_no_container_has_is_refused(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalidError, match="id 70000; containers have ids 0 to 65535"):
        imported(store, tmp_path, layer(Entry("x", uid=70000)))


def test_a_blob_that_is_not_what_its_name_says_is_refused(
    store: ImageStore, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", [layer(APP)])
    biggest = max(
        (tmp_path / "layout/blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size
    )
    biggest.write_bytes(biggest.read_bytes() + b"x")
    with pytest.raises(SpecInvalidError, match="has content sha256:"):
        store.import_layout(tmp_path / "layout", "app")


def test_a_layer_that_unpacks_to_something_else_is_refused(
    store: ImageStore, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", [layer(APP)], diff_ids=[sha256(b"something else")])
    with pytest.raises(SpecInvalidError, match="its config says"):
        store.import_layout(tmp_path / "layout", "app")


def test_a_layer_that_is_cut_short_is_refused(store: ImageStore, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [layer(Entry("big", b"x" * 5000))[:2048]])
    with pytest.raises(SpecInvalidError, match="not a whole tar"):
        store.import_layout(tmp_path / "layout", "app")


def test_an_image_for_another_kind_of_machine_is_refused(store: ImageStore, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [layer(APP)], architecture="vax")
    with pytest.raises(SpecInvalidError, match=f"is for linux/vax; this machine is linux/{HERE}"):
        store.import_layout(tmp_path / "layout", "app")
    assert store.list() == ()


@pytest.mark.parametrize("renames", [0, 1])
def test_an_import_killed_around_its_last_step_leaves_a_whole_image_or_none(
    store: ImageStore, tmp_path: Path, renames: int
) -> None:
    digest = write_layout(tmp_path / "layout", [layer(APP)])
    # Killed just before the image gets its place, or as soon as that is done.
    program = (
        "import os, pathlib, sys\n"
        "from runtime.image import ImageStore\n"
        "to, layout = map(pathlib.Path, sys.argv[1:3])\n"
        "left, rename = int(sys.argv[3]), pathlib.Path.rename\n"
        "def killed(self, target):\n"
        "    done = rename(self, target) if left else None\n"
        "    os.kill(os.getpid(), 9)\n"
        "pathlib.Path.rename = killed\n"
        "ImageStore(to).import_layout(layout, 'app')\n"
    )
    places = [str(tmp_path / "store"), str(tmp_path / "layout"), str(renames)]
    done = subprocess.run([sys.executable, "-c", program, *places], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    store.sweep()
    assert store.has(digest) is bool(renames)
    assert [one.name for one in store.list()] == ["app"] * renames

    def fill(to: Path) -> None:
        shutil.copytree(tmp_path / "layout", to, dirs_exist_ok=True)

    # Not stuck either way: what is there is used and collected like any other.
    store.add(digest, "again", fill)
    assert store.status(digest).name == ("app" if renames else "again")
    store.collect(keep=(), users=(), young_seconds=-1.0, dry_run=False)
    assert os.listdir(tmp_path / "store/images") == []


def test_one_of_several_images_is_chosen_by_name(store: ImageStore, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [layer(Entry("one"))], name="one")
    second = write_layout(tmp_path / "layout", [layer(Entry("two"))], name="two")
    assert store.import_layout(tmp_path / "layout", "two") == second
    with pytest.raises(SpecInvalidError, match="one, two"):
        store.import_layout(tmp_path / "layout", "three")


def test_what_is_no_layout_is_refused_by_name(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalidError, match="does not exist"):
        store.import_layout(tmp_path / "nowhere", "app")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecInvalidError, match=r"no index\.json"):
        store.import_layout(tmp_path / "empty", "app")
    with pytest.raises(SpecInvalidError, match="image name is '-x'"):
        store.import_layout(tmp_path / "empty", "-x")


def test_an_image_in_use_is_not_removed_and_its_holders_are_named(
    store: ImageStore, tmp_path: Path
) -> None:
    digest = write_layout(tmp_path / "layout", [layer(APP)])
    store.import_layout(tmp_path / "layout", "app")
    store.hold(digest, "ins_00000001")
    store.hold(digest, "ins_00000001")
    with pytest.raises(SpecInvalidError, match="ins_00000001"):
        store.remove(digest)
    assert store.list()[0].users == ("ins_00000001",)
    store.release(digest, "ins_00000001")
    store.release(digest, "ins_00000001")
    store.remove(digest)
    store.remove(digest)
    assert store.list() == ()


def test_an_unknown_image_is_an_error_that_says_how_to_get_it(store: ImageStore) -> None:
    with pytest.raises(ImageUnknownError, match="import-image"):
        store.rootfs("sha256:" + "0" * 64)
    with pytest.raises(ImageUnknownError, match="import-image"):
        store.hold("sha256:" + "0" * 64, "ins_00000001")


def test_users_named_in_an_image_are_looked_up_in_the_image_itself(
    store: ImageStore, tmp_path: Path
) -> None:
    # /etc/passwd of this image leads to the host's file; inside the image there is none.
    write_layout(
        tmp_path / "layout",
        [layer(symlink("etc/passwd", "/etc/group"))],
        config={"Cmd": ["x"], "User": "daemon"},
    )
    with pytest.raises(SpecInvalidError, match="'daemon', who is not in its /etc/passwd"):
        store.import_layout(tmp_path / "layout", "app")


def test_several_imports_at_once_unpack_once(store: ImageStore, tmp_path: Path) -> None:
    digest = write_layout(tmp_path / "layout", [layer(APP)])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.import_layout(tmp_path / "layout", "app"), range(4)))
    assert found == [digest] * 4
    assert len(store.list()) == 1
    assert os.listdir(tmp_path / "store" / "work") == []
