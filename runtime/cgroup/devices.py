"""Which disks lie under a directory, by the numbers the kernel limits them by.

A limit on a disk holds for the requests that reach it. A file system in a loop-mounted file is a
disk of its own on top of the one that holds the file, and both are limited: the kernel charges what
the loop device asks of the lower one to the process that asked the loop device.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Device = tuple[int, int]
_SYS = Path("/sys/dev/block")
_FURTHEST = 4  # a loop in a file on a loop in a file …: nobody builds more


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of a mount table."""

    place: str
    source: str
    device: Device


def disks_under(
    directory: Path,
    *,
    mountinfo: str = "",
    sys: Path = _SYS,
    number_of: Callable[[str], Device | None] | None = None,
) -> tuple[Device, ...]:
    """Return the whole disks that hold a directory and what is mounted below it, ordered; () for a tmpfs.

    mountinfo: text of /proc/self/mountinfo; number_of: the numbers of a device's file.
    """
    number_of = number_of or _number
    table = _mounts(mountinfo or Path("/proc/self/mountinfo").read_text())
    found: set[Device] = set()
    waiting = [(mount, 0) for mount in _of(table, str(directory))]
    while waiting:
        mount, depth = waiting.pop()
        # btrfs gives each file system a number that is no disk's: then the source says which it is.
        device = mount.device if mount.device[0] else number_of(mount.source)
        disk = device and _whole_disk(sys, device)
        if not disk or disk in found:
            continue
        found.add(disk)
        backing = _backing_file(sys, disk)
        if backing and depth < _FURTHEST:
            holder = _holding(table, backing)
            waiting += [(holder, depth + 1)] if holder else []
    return tuple(sorted(found))


def _mounts(mountinfo: str) -> list[Mount]:
    mounts = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        _number_of, _parent, device, _root, place, *_rest = left.split(" ")
        major, _, minor = device.partition(":")
        _kind, source, *_options = right.split(" ")
        plain = place.encode().decode("unicode_escape")
        mounts.append(Mount(plain, source, (int(major), int(minor))))
    return mounts


def _of(table: list[Mount], directory: str) -> list[Mount]:
    """Return the mount a directory lies in, and those below the directory."""
    holder = _holding(table, directory)
    below = [mount for mount in table if mount.place.startswith(f"{directory}/")]
    return [*([holder] if holder else []), *below]


def _holding(table: list[Mount], path: str) -> Mount | None:
    around = [mount for mount in table if f"{path}/".startswith(f"{mount.place.rstrip('/')}/")]
    # The last of equal places was mounted over the others.
    return max(reversed(around), key=lambda mount: len(mount.place), default=None)


def _whole_disk(sys: Path, device: Device) -> Device | None:
    """Return the disk itself for a partition: the kernel limits whole disks only. None for no disk at all."""
    place = sys / f"{device[0]}:{device[1]}"
    try:
        if (place / "partition").exists():
            place = place.resolve().parent
        major, _, minor = (place / "dev").read_text().strip().partition(":")
    except OSError:
        return None
    return int(major), int(minor)


def _backing_file(sys: Path, disk: Device) -> str:
    try:
        return (sys / f"{disk[0]}:{disk[1]}" / "loop" / "backing_file").read_text().rstrip("\n")
    except OSError:
        return ""


def _number(path: str) -> Device | None:
    try:
        number = os.stat(path).st_rdev  # noqa: PTH116 - of the file itself, whatever its name
    except OSError:
        return None
    return (os.major(number), os.minor(number)) if number else None
