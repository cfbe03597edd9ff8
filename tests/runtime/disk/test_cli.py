"""`python -m runtime store`: what it does, and what it says where there can be no store."""

import json
from pathlib import Path

import pytest

from runtime import cli
from runtime.disk import loop
from tests.runtime.hosts import lack_of_store

pytestmark = pytest.mark.root


def _store(state_dir: Path, *words: str) -> int:
    return cli.main(
        ["store", *words], {"STOA_HOST_STATE": str(state_dir)}, doctor=lambda _config, _json: 0
    )


def test_up_makes_a_store_and_down_unmounts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if lack := lack_of_store():
        pytest.skip(lack)
    try:
        assert _store(tmp_path, "--json", "up", "256M") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["kind"], told["is_enforced"], told["total_bytes"]) == ("btrfs", True, 2**28)
        assert _store(tmp_path, "show") == 0
        assert "disk limits are enforced" in capsys.readouterr().out
    finally:
        assert _store(tmp_path, "down") == 0
    assert not loop.is_mounted(tmp_path)


def test_without_loop_devices_disks_are_measured_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if lack := lack_of_store():
        pytest.skip(lack)
    monkeypatch.setattr(loop, "_CONTROL", "/dev/no-such-control")
    assert _store(tmp_path, "up", "256M") == 0
    said = capsys.readouterr()
    assert "measured, not enforced: a store in a file cannot be mounted here" in said.err
    assert not loop.image_path(tmp_path).exists()
    assert _store(tmp_path, "up", "0") == 0
    assert "STOA_STORE_BYTES is 0" in capsys.readouterr().err


def test_a_store_that_exists_and_cannot_be_mounted_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.image_path(tmp_path).write_bytes(b"no file system" * 100_000)
    assert _store(tmp_path, "up", "256M") == 1
    assert "cannot be mounted" in capsys.readouterr().err
    assert loop.image_path(tmp_path).exists()


def test_a_size_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _store(tmp_path, "up", "plenty")
    assert "write 20G, 512M" in capsys.readouterr().err
