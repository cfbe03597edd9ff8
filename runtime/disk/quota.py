"""The one interface to whatever a file system has to keep a directory below a size."""

import errno
import os
from pathlib import Path
from typing import Protocol

from runtime.disk import btrfs_calls as btrfs
from runtime.disk import project
from runtime.disk.descriptors import opened
from runtime.system.trees import disk_bytes, remove_tree

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Quota(Protocol):
    """Limits for the directories right below one directory, each called a space by its name."""

    kind: str
    enforces: bool

    def make(self, name: str) -> None:
        """Make the space; no-op if it is there."""
        ...

    def remove(self, name: str) -> None:
        """Delete the space with all it holds and all that was noted of it; no-op if there is none."""
        ...

    def limit(self, name: str, amount: int | None) -> None:
        """The most the space may hold from now on, in bytes; None for no limit."""
        ...

    def limit_of(self, name: str) -> int | None:
        """Return the limit in force; None for none."""
        ...

    def used(self, name: str) -> int:
        """Return the bytes that the space occupies; 0 if there is none."""
        ...

    def usage(self) -> dict[str, int]:
        """Return the bytes that every space occupies, in one pass."""
        ...

    def limits(self) -> dict[str, int]:
        """Return the limit of every space that has one, in one pass."""
        ...

    def tidy(self) -> int:
        """Forget what is noted of spaces that are gone; how many there were."""
        ...


def detect(top: Path) -> Quota:
    """Return the quotas that the directory's file system supports; asks it and guesses nothing."""
    with opened(top, DIRECTORY) as fd:
        if _is_on(fd):
            return BtrfsQuota(top)
    if project.is_enforced(top):
        return project.ProjectQuota(top)
    return Measured(top)


def is_btrfs(top: Path) -> bool:
    """Return whether the directory lies on btrfs, with quotas or without."""
    try:
        with opened(top, DIRECTORY) as fd:
            btrfs.quota_flags(fd)
    except OSError:
        return False
    return True


def is_inconsistent(top: Path) -> bool:
    """Return whether btrfs says that what it counted is no longer true."""
    try:
        with opened(top, DIRECTORY) as fd:
            return bool(btrfs.quota_flags(fd) & btrfs.QUOTA_INCONSISTENT)
    except OSError:
        return False


def _is_on(fd: int) -> bool:
    try:
        return bool(btrfs.quota_flags(fd) & btrfs.QUOTA_ON)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EPERM, errno.EOPNOTSUPP}:
            return False
        raise


class BtrfsQuota:
    """A subvolume per space, limited by its own quota group."""

    kind = "btrfs"
    enforces = True

    def __init__(self, top: Path) -> None:
        self._top = top

    def make(self, name: str) -> None:
        """See Quota."""
        if (self._top / name).exists():
            return
        with opened(self._top, DIRECTORY) as top:
            try:
                btrfs.create_subvolume(top, name)
            except FileExistsError:
                return

    def remove(self, name: str) -> None:
        """See Quota. The group goes with the subvolume, on kernels before 6.13 with `tidy`."""
        with opened(self._top, DIRECTORY) as top:
            try:
                btrfs.destroy_subvolume(top, name)
            except FileNotFoundError:
                return
            btrfs.begin_commit(top)

    def limit(self, name: str, amount: int | None) -> None:
        """See Quota."""
        with opened(self._top / name, DIRECTORY) as space:
            btrfs.limit(space, amount)

    def limit_of(self, name: str) -> int | None:
        """See Quota."""
        with opened(self._top / name, DIRECTORY) as space:
            return btrfs.limit_of(space, btrfs.subvolume_id(space))

    def used(self, name: str) -> int:
        """See Quota. As of the last commit, a few seconds ago."""
        try:
            with opened(self._top / name, DIRECTORY) as space:
                return btrfs.referenced(space, btrfs.subvolume_id(space))
        except FileNotFoundError:
            return 0

    def usage(self) -> dict[str, int]:
        """See Quota. Two bulk reads for all: some milliseconds for a thousand."""
        with opened(self._top, DIRECTORY) as top:
            names = btrfs.subvolume_names(top)
            amounts = btrfs.all_referenced(top)
        return {name: amounts.get(number, 0) for number, name in names.items()}

    def limits(self) -> dict[str, int]:
        """See Quota."""
        with opened(self._top, DIRECTORY) as top:
            names = btrfs.subvolume_names(top)
            amounts = btrfs.limits(top)
        return {name: amounts[number] for number, name in names.items() if number in amounts}

    def tidy(self) -> int:
        """See Quota. On a file system that is not ours alone, groups are somebody else's business."""
        removed = 0
        with opened(self._top, DIRECTORY) as top:
            if not btrfs.is_top(top):
                return 0
            present = btrfs.subvolume_ids(top)
            for number in btrfs.all_referenced(top).keys() - present:
                try:
                    btrfs.remove_group(top, number)
                except OSError as error:
                    if error.errno not in {errno.EBUSY, errno.ENOENT}:
                        raise
                    continue  # its blocks are still being given back
                removed += 1
        return removed


class Measured:
    """Nothing enforces here: spaces are plain directories, walked to learn their size."""

    kind = "measured"
    enforces = False

    def __init__(self, top: Path) -> None:
        self._top = top

    def make(self, name: str) -> None:
        """See Quota."""
        (self._top / name).mkdir(mode=0o755, exist_ok=True)

    def remove(self, name: str) -> None:
        """See Quota."""
        remove_tree(self._top / name)

    def limit(self, name: str, amount: int | None) -> None:
        """See Quota. Does nothing: the limit of a single file (RLIMIT_FSIZE) is all there is."""

    def limit_of(self, name: str) -> int | None:
        """See Quota."""
        return None

    def used(self, name: str) -> int:
        """See Quota. Walks the directory."""
        return disk_bytes(self._top / name)

    def usage(self) -> dict[str, int]:
        """See Quota. Walks everything: dear."""
        return {
            entry.name: self.used(entry.name) for entry in self._top.iterdir() if entry.is_dir()
        }

    def limits(self) -> dict[str, int]:
        """See Quota."""
        return {}

    def tidy(self) -> int:
        """See Quota."""
        return 0
