"""Project quotas, as far as a kernel without them lets one look: what would be sent."""

import struct
from pathlib import Path

from runtime.disk.project import attributes_with, is_enforced, project_of, quota_in, quota_with
from runtime.disk.quota import detect


def test_a_directory_keeps_its_attributes_and_hands_its_project_on() -> None:
    before = struct.pack("<5I8s", 0x40, 4096, 3, 0, 7, b"reserved")
    flags, extent, extents, project, cow, rest = struct.unpack("<5I8s", attributes_with(before, 99))
    assert (flags, project) == (0x40 | 0x200, 99)
    assert (extent, extents, cow, rest) == (4096, 3, 7, b"reserved")
    assert len(before) == 28, "struct fsxattr"


def test_a_limit_is_set_in_whole_kibibytes_and_only_the_limit() -> None:
    wanted = quota_with(1025)
    assert len(wanted) == 72, "struct if_dqblk"
    assert struct.unpack("<8QI4x", wanted) == (2, 0, 0, 0, 0, 0, 0, 0, 1)
    assert struct.unpack("<8QI4x", quota_with(None))[0] == 0


def test_an_answer_gives_the_limit_and_what_is_used() -> None:
    answer = struct.pack("<8QI4x", 1024, 0, 123_456, 0, 0, 5, 0, 0, 0x3F)
    assert quota_in(answer) == (1024 * 1024, 123_456)
    assert quota_in(struct.pack("<8QI4x", 0, 0, 1, 0, 0, 0, 0, 0, 0))[0] is None


def test_projects_are_apart_from_those_an_administrator_gives_out() -> None:
    numbers = {project_of(inode) for inode in range(1, 1000)}
    assert len(numbers) == 999
    assert min(numbers) > 2**31
    assert project_of(2**62 + 5) < 2**32, "an inode of XFS beyond a terabyte"


def test_a_file_system_without_them_is_measured(tmp_path: Path) -> None:
    if is_enforced(tmp_path):
        assert detect(tmp_path).kind in {"project", "btrfs"}
    else:
        assert detect(tmp_path).kind in {"measured", "btrfs"}
