"""A host that is a part of a machine tells of that part."""

from pathlib import Path

import pytest

from runtime.cgroup.layout import Layout, Version
from runtime.cgroup.slice import Slice, slice_of
from runtime.config import host_config
from runtime.errors import SpecInvalidError


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_version_1_is_read_from_the_hosts_own_directory(tmp_path: Path) -> None:
    roots = {"cpuacct": tmp_path / "cpu", "memory": tmp_path / "memory"}
    put(roots["cpuacct"] / "s_h/cpuacct.usage", "123\n")
    put(roots["memory"] / "s_h/memory.usage_in_bytes", "1000\n")
    put(roots["memory"] / "s_h/memory.stat", "cache 5\ntotal_inactive_file 300\n")
    one = Slice(1000, 2**30, Layout(Version.V1, roots, ()), "s_h")
    assert (one.busy_nanos(), one.used_bytes()) == (123, 700)


def test_version_2_is_read_from_the_hosts_own_directory(tmp_path: Path) -> None:
    roots = {"cpu": tmp_path, "memory": tmp_path}
    put(tmp_path / "s_h/cpu.stat", "usage_usec 7\nuser_usec 3\n")
    put(tmp_path / "s_h/memory.current", "1000\n")
    put(tmp_path / "s_h/memory.stat", "anon 5\ninactive_file 400\n")
    one = Slice(1000, 2**30, Layout(Version.V2, roots, ()), "s_h")
    assert (one.busy_nanos(), one.used_bytes()) == (7000, 600)


def test_a_host_where_nothing_was_started_yet_uses_nothing(tmp_path: Path) -> None:
    roots = dict.fromkeys(("cpu", "cpuacct", "memory"), tmp_path)
    for version in Version:
        one = Slice(1000, 2**30, Layout(version, roots, ()), "s_h")
        assert (one.busy_nanos(), one.used_bytes()) == (0, 0)


def test_a_slice_is_described_as_a_whole_or_not_at_all() -> None:
    config = host_config({})
    assert slice_of(config, {}) is None
    with pytest.raises(
        SpecInvalidError, match="STOA_SLICE_MEMORY_BYTES is not set; it must be set too"
    ):
        slice_of(config, {"STOA_SLICE_CPU_MILLIS": "1000"})
