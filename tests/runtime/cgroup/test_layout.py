"""Mount tables of real machines and what they mean."""

from pathlib import Path

import pytest

from runtime.cgroup import layout_in
from runtime.cgroup.layout import Version
from runtime.errors import HostUnfitError

V1 = "".join(
    f"cgroup /sys/fs/cgroup/{place} cgroup rw,relatime,{options} 0 0\n"
    for place, options in (
        ("cpu,cpuacct", "cpu,cpuacct"),
        ("cpuset", "cpuset"),
        ("memory", "memory"),
        ("freezer", "freezer"),
        ("pids", "pids"),
        ("systemd", "xattr,name=systemd"),
    )
)
UNIFIED = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
V2 = "sysfs /sys sysfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate,memory_recursiveprot 0 0\n"


def test_version_2_is_one_tree_with_everything() -> None:
    found = layout_in(V2)
    assert found.version is Version.V2
    assert found.hierarchies == (Path("/sys/fs/cgroup"),)
    assert found.roots["memory"] == found.roots["pids"] == Path("/sys/fs/cgroup")
    assert found.unified is None


def test_version_1_controllers_may_share_a_tree_and_the_named_one_counts() -> None:
    found = layout_in(V1)
    assert found.version is Version.V1
    assert found.roots["cpu"] == found.roots["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert Path("/sys/fs/cgroup/systemd") in found.hierarchies
    assert len(found.hierarchies) == 6


def test_hybrid_is_version_1_with_an_unused_tree_beside() -> None:
    found = layout_in(UNIFIED + V1)
    assert found.version is Version.V1
    assert found.unified == Path("/sys/fs/cgroup/unified")
    assert found.unified not in found.hierarchies


def test_version_2_with_a_stray_version_1_tree_is_version_2() -> None:
    stray = "cgroup /sys/fs/cgroup/net_cls cgroup rw,net_cls 0 0\n"
    assert layout_in(V2 + stray).version is Version.V2


@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        ("proc /proc proc rw 0 0\n", "no cgroup file system"),
        (V1.replace("pids", "misc"), "without pids"),
    ],
)
def test_a_machine_without_what_containers_need_is_told_what(mounts: str, message: str) -> None:
    with pytest.raises(HostUnfitError, match=message):
        layout_in(mounts)
