"""Volumes: made once with the program's ids, kept closed to others, removed with all they hold."""

from pathlib import Path

import pytest

from runtime.errors import SpecInvalidError
from runtime.trees import disk_bytes
from runtime.volume import Volumes


def test_a_volume_is_made_once_and_removing_repeats(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path)
    path = volumes.ensure("acme", uid=0, gid=0)
    (path / "data").write_text("precious")
    assert volumes.ensure("acme", uid=0, gid=0) == path
    assert (path / "data").read_text() == "precious"
    assert volumes.names() == ("acme",)
    volumes.remove("acme")
    volumes.remove("acme")
    assert volumes.names() == ()


def test_nobody_but_root_may_enter_the_store(tmp_path: Path) -> None:
    Volumes(tmp_path)
    assert (tmp_path / "volumes").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["..", "a/b", "", ".acme.new", "acme\n"])
def test_a_name_that_could_leave_the_store_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecInvalidError):
        Volumes(tmp_path).path(name)


def test_what_lies_behind_a_link_is_not_counted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "big").write_bytes(b"x" * 1_000_000)
    volumes = Volumes(tmp_path)
    path = volumes.ensure("acme", uid=0, gid=0)
    (path / "way-out").symlink_to(elsewhere)
    (path / "small").write_bytes(b"x" * 5000)
    assert 5000 <= volumes.disk_bytes("acme") < 20_000
    assert disk_bytes(tmp_path / "nowhere") == 0
