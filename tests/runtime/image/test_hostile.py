"""Layers made to hurt: too much, too deep, too many, or meant for somebody else's files."""

# Names are what is compared here.
# ruff: noqa: PTH208

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.config import ImageAccess
from runtime.errors import HostError, SpecInvalidError
from runtime.image import ImageStore
from runtime.image.fetch import Fetcher, check_room
from runtime.image.layer import Budget, Unpacked
from tests.runtime.image.layouts import (
    Entry,
    directory,
    hardlink,
    layer,
    sha256,
    symlink,
    write_layout,
)

pytestmark = pytest.mark.root
APP = Entry("bin/app", b"#!/bin/sh\n", mode=0o755)
GIB = 1024**3


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def imported(store: ImageStore, tmp_path: Path, *layers: bytes, compression: str = "gzip") -> Path:
    write_layout(tmp_path / "layout", layers, compression=compression)
    return store.rootfs(store.import_layout(tmp_path / "layout", "app"))


def refused(store: ImageStore, tmp_path: Path, why: str, *layers: bytes) -> None:
    """The image is refused for the reason, as its own fault, and nothing of it is left."""
    with pytest.raises(SpecInvalidError, match=why):
        imported(store, tmp_path, *layers)
    assert store.list() == ()
    assert os.listdir(tmp_path / "store" / "work") == []


class TestTooMuch:
    def test_what_is_packed_small_and_unpacks_without_end_is_cut_off(self) -> None:
        bomb = gzip.compress(bytes(50_000_000))
        stream = Unpacked(io.BytesIO(bomb), "gzip", Budget(most_bytes=1_000_000))
        with pytest.raises(SpecInvalidError, match="unpacks to more than 1000000 bytes"):
            stream.digest()

    def test_the_ceiling_counts_all_layers_together(self) -> None:
        budget = Budget(most_bytes=1_500_000)
        first = Unpacked(io.BytesIO(gzip.compress(bytes(1_000_000))), "gzip", budget)
        second = Unpacked(io.BytesIO(gzip.compress(bytes(1_000_000))), "gzip", budget)
        first.digest()
        with pytest.raises(SpecInvalidError, match="more than 1500000 bytes"):
            second.digest()

    def test_so_do_files(self) -> None:
        budget = Budget(most_members=2)
        budget.spend_member()
        budget.spend_member()
        with pytest.raises(SpecInvalidError, match="more than 2 files"):
            budget.spend_member()

    def test_a_file_of_nothing_but_holes_counts_with_its_holes(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        holes = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(9 * GIB)}
        refused(store, tmp_path, "unpacks to more than", layer(APP, Entry("big", headers=holes)))

    def test_a_small_file_with_holes_is_taken_with_zeros(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        holes = {"GNU.sparse.map": "0,3", "GNU.sparse.size": "1000"}
        rootfs = imported(store, tmp_path, layer(APP, Entry("small", b"abc", headers=holes)))
        assert (rootfs / "small").read_bytes() == b"abc" + bytes(997)

    def test_a_header_that_claims_what_does_not_follow_is_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        out = io.BytesIO()
        member = tarfile.TarInfo("claims")
        member.size = 4 * 1024 * GIB
        out.write(member.tobuf(tarfile.GNU_FORMAT))
        refused(store, tmp_path, "not a whole tar|cannot be unpacked", out.getvalue())

    def test_a_header_that_wants_all_memory_is_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        # A pax header is read into memory in one piece.
        member = tarfile.TarInfo("pax")
        member.type = tarfile.XHDTYPE
        member.size = 3 * GIB
        refused(
            store,
            tmp_path,
            "not a whole tar|memory",
            member.tobuf(tarfile.GNU_FORMAT) + bytes(4096),
        )

    def test_more_layers_than_anybody_needs_are_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        refused(store, tmp_path, "129 layers; at most 128", *[layer(directory("d"))] * 129)


class TestMeantForOthers:
    @pytest.mark.parametrize("name", ["d/.wh...", ".wh...", "d/.wh.", "d/.wh..", "../.wh.etc"])
    def test_a_whiteout_removes_a_name_and_nothing_else(
        self, store: ImageStore, tmp_path: Path, name: str
    ) -> None:
        refused(
            store,
            tmp_path,
            "removes more than a name|leads out",
            layer(APP, directory("d"), Entry("d/kept")),
            layer(Entry(name)),
        )

    def test_a_hard_link_out_of_the_image_is_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        refused(
            store, tmp_path, "leads out of the image", layer(hardlink("x", "../../etc/hostname"))
        )

    def test_a_hard_link_to_a_link_does_not_follow_it(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        (tmp_path / "victim").write_text("untouched")
        rootfs = imported(
            store,
            tmp_path,
            layer(
                APP,
                symlink("link", str(tmp_path / "victim")),
                hardlink("hard", "link"),
                Entry("hard", b"x"),
            ),
        )
        assert (rootfs / "hard").read_bytes() == b"x"
        assert (tmp_path / "victim").read_text() == "untouched"

    def test_links_that_lead_in_circles_are_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        refused(
            store, tmp_path, "cannot be unpacked", layer(symlink("a", "b"), symlink("b", "a")),
            layer(Entry("a/x")),
        )  # fmt: skip

    def test_a_directory_deeper_than_a_path_is_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        refused(store, tmp_path, "deeper than 256", layer(Entry("d/" * 3000 + "x")))
        (tmp_path / "layout/index.json").unlink()
        refused(store, tmp_path, "cannot be unpacked", layer(Entry(f"{'d' * 200}/" * 30 + "x")))
        deep = layer(APP, Entry("d/" * 255 + "x"))
        assert (imported(store, tmp_path / "deep", deep) / ("d/" * 255 + "x")).exists()

    def test_block_and_character_devices_and_sockets_are_left_out(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        rootfs = imported(
            store,
            tmp_path,
            layer(
                APP,
                Entry("sda", kind=tarfile.BLKTYPE),
                Entry("mem", kind=tarfile.CHRTYPE),
                Entry("odd", kind=b"s"),
            ),
        )
        assert not {"sda", "mem"} & set(os.listdir(rootfs))

    def test_a_set_id_program_lies_where_nobody_but_root_can_run_it(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        rootfs = imported(store, tmp_path, layer(APP, Entry("su", b"#!/bin/sh\n", mode=0o6755)))
        assert (rootfs / "su").stat().st_mode & 0o6000
        refusal = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", str(rootfs / "su")],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert refusal.returncode != 0
        assert "Permission denied" in refusal.stderr


class TestZstd:
    def test_layers_packed_with_zstd_are_taken(self, store: ImageStore, tmp_path: Path) -> None:
        rootfs = imported(
            store, tmp_path, layer(APP), layer(Entry("big", bytes(300_000))), compression="zstd"
        )
        assert (rootfs / "big").stat().st_size == 300_000

    def test_one_that_is_not_what_it_says_is_refused(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        write_layout(
            tmp_path / "layout",
            [layer(APP)],
            compression="zstd",
            diff_ids=[sha256(b"something else")],
        )
        with pytest.raises(SpecInvalidError, match="its config says"):
            store.import_layout(tmp_path / "layout", "app")

    def test_without_the_program_the_error_names_the_package(
        self, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_layout(tmp_path / "layout", [layer(APP)], compression="zstd")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SpecInvalidError, match="apt-get install zstd"):
            store.import_layout(tmp_path / "layout", "app")


class TestNoRoom:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[ImageStore]:
        """A store on a disk of 2 MiB."""
        place = tmp_path / "store"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], check=True)
        yield ImageStore(place)
        subprocess.run(["umount", place], check=True)

    def test_a_full_disk_is_a_clear_error_and_nothing_is_left(
        self, small: ImageStore, tmp_path: Path
    ) -> None:
        with pytest.raises(HostError, match="does not fit on this host's disk"):
            imported(small, tmp_path, layer(APP, Entry("big", os.urandom(4_000_000))))
        assert small.list() == ()
        assert os.listdir(tmp_path / "store" / "work") == []
        assert imported(small, tmp_path / "again", layer(APP)).is_dir()

    def test_what_cannot_fit_is_not_even_fetched(self, small: ImageStore, tmp_path: Path) -> None:
        check_room(tmp_path / "store", 100_000)
        with pytest.raises(HostError, match=r"needs about 2 MiB, 2 MiB are free; .*image-gc"):
            check_room(tmp_path / "store", 999_999)
        assert Fetcher(small, ImageAccess())
