"""What a bundle writes survives a crash at any moment, and fences outlive instances."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle import Desired, Fences, InstanceDirectory, InstanceRecord, instance_ids
from runtime.errors import HostError, SpecInvalidError, StaleFenceError
from runtime.specs import Fence
from tests.runtime.bundle.test_config import PROGRAM, SPEC

RECORD = InstanceRecord(SPEC, "/images/x/rootfs", PROGRAM, Desired.RUNNING)


def test_a_record_reads_back_as_written(tmp_path: Path) -> None:
    directory = InstanceDirectory.of(tmp_path, SPEC.instance_id)
    assert directory.read() is None
    directory.write(RECORD)
    assert directory.read() == RECORD
    directory.write(replace(RECORD, desired=Desired.STOPPED))
    assert directory.read() == replace(RECORD, desired=Desired.STOPPED)
    assert instance_ids(tmp_path) == (SPEC.instance_id,)


def test_a_half_written_record_beside_the_old_one_does_no_harm(tmp_path: Path) -> None:
    directory = InstanceDirectory.of(tmp_path, SPEC.instance_id)
    directory.write(RECORD)
    (directory.root / ".instance.json.new").write_text('{"spec": {"inst')
    assert directory.read() == RECORD
    directory.write(replace(RECORD, desired=Desired.STOPPED))
    assert [path.name for path in directory.root.iterdir()] == ["instance.json"]


def test_a_record_that_cannot_be_understood_is_named(tmp_path: Path) -> None:
    directory = InstanceDirectory.of(tmp_path, SPEC.instance_id)
    directory.write(RECORD)
    directory.record_path.write_text("{}")
    with pytest.raises(HostError, match=r"instance.json cannot be understood: .* lacks the field"):
        directory.read()


@pytest.mark.parametrize("name", ["../etc", "ins_", "ins_0123456789\n", "", "ins_01234567/x"])
def test_an_id_that_could_leave_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecInvalidError):
        InstanceDirectory.of(tmp_path, name)


def test_removing_repeats(tmp_path: Path) -> None:
    directory = InstanceDirectory.of(tmp_path, SPEC.instance_id)
    directory.write(RECORD)
    directory.remove()
    directory.remove()
    assert not directory.root.exists()


def test_the_highest_fence_is_kept_over_restarts_and_costs_no_block(tmp_path: Path) -> None:
    Fences(tmp_path).admit(SPEC.instance_id, Fence(1, 9))
    fences = Fences(tmp_path)
    fences.admit(SPEC.instance_id, Fence(1, 9))
    fences.admit(SPEC.instance_id, Fence(2, 1))
    with pytest.raises(StaleFenceError, match=r"fence 1\.10 of ins_0123456789 is older than 2\.1"):
        fences.admit(SPEC.instance_id, Fence(1, 10))
    assert fences.seen(SPEC.instance_id) == Fence(2, 1)
    assert (tmp_path / "fences" / SPEC.instance_id).lstat().st_blocks == 0
