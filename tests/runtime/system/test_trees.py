"""Directories as a tenant may leave them: too deep for a path, full of links, oddly named."""

import os
from pathlib import Path

import pytest

from runtime.system.trees import disk_bytes, remove_tree


def nest(root: Path, levels: int, name: str = "deep") -> None:
    """Directories in each other, and a file of 8 KiB in the last."""
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open("treasure", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, b"x" * 8192)
    os.close(file)
    os.close(fd)


@pytest.mark.parametrize("name", ["deep", "ä" * 120])
def test_what_lies_deeper_than_any_path_is_measured_and_removed(tmp_path: Path, name: str) -> None:
    nest(tmp_path / "flat", 0)
    nest(tmp_path / "top", 3000, name)
    assert disk_bytes(tmp_path / "top") >= disk_bytes(tmp_path / "flat") >= 8192
    remove_tree(tmp_path / "top")
    assert not (tmp_path / "top").exists()


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"x" * 100_000)
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "out").symlink_to(elsewhere)
    (top / "out").symlink_to(elsewhere)
    assert disk_bytes(top) < 50_000
    remove_tree(top)
    assert not top.exists()
    assert (elsewhere / "precious").stat().st_size == 100_000


def test_a_link_in_the_place_of_the_tree_itself_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "link")
    assert (elsewhere / "precious").exists()
    assert disk_bytes(tmp_path / "link") == 0


def test_many_entries_and_odd_names_go_too(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number in range(50):
        (top / f"d{number}" / "x" / "y").mkdir(parents=True)
        for file in range(20):
            (top / f"d{number}" / "x" / f"-rf {file}\n").touch()
    os.mkdir(os.fsencode(top) + b"/\xff\xfe")  # noqa: PTH102 - a name that is no text
    os.mkfifo(top / "fifo")
    remove_tree(top)
    remove_tree(top)  # calm when there is none
    assert not top.exists()
