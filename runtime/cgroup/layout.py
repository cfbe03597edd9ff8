"""How this kernel shows cgroups: version 1, version 2, or both at once, worked out from its mount table."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from runtime.errors import HostUnfitError

CONTROLLERS_V1 = frozenset(
    {
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    }
)
NEEDED_V1 = ("cpu", "cpuacct", "freezer", "memory", "pids")
NEEDED_V2 = ("cpu", "memory", "pids")
# Also handed down where the kernel has it: reading and writing of disks.
WANTED_V2 = (*NEEDED_V2, "io")


class Version(IntEnum):
    """Which generation of cgroups carries the controllers."""

    V1 = 1
    V2 = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the controllers are.

    roots: controller → directory (version 2 has all in one). hierarchies: every separate tree a
    container gets a directory in, the named one of systemd included.
    unified: the empty version 2 tree beside version 1 (hybrid), which crun 1.8.1 refuses, or None.
    """

    version: Version
    roots: dict[str, Path]
    hierarchies: tuple[Path, ...]
    unified: Path | None = None


def layout_in(mounts: str) -> Layout:
    """Read the layout from the text of /proc/self/mounts.

    Raises HostUnfitError when neither version has what containers need; it names what is missing.
    """
    roots: dict[str, Path] = {}
    trees: list[Path] = []
    unified: Path | None = None
    for line in mounts.splitlines():
        _source, place, kind, options, *_rest = line.split(" ")
        path = Path(place.encode().decode("unicode_escape"))
        if kind == "cgroup2":
            unified = unified or path
        elif kind == "cgroup":
            trees.append(path)
            for word in options.split(","):
                if word in CONTROLLERS_V1:
                    roots.setdefault(word, path)
    if "memory" in roots or (trees and unified is None):
        missing = [name for name in NEEDED_V1 if name not in roots]
        if missing:
            raise HostUnfitError(
                f"cgroup version 1 is mounted without {', '.join(missing)};"
                " boot with cgroup version 2 or mount these controllers"
            )
        return Layout(Version.V1, roots, tuple(dict.fromkeys(trees)), unified)
    if unified is None:
        raise HostUnfitError("no cgroup file system is mounted; mount cgroup2 on /sys/fs/cgroup")
    return Layout(Version.V2, dict.fromkeys(WANTED_V2, unified), (unified,))
