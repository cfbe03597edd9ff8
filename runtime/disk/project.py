"""Project quotas: XFS and ext4 mounted with prjquota count everything below a directory under one number.

Written from the manual pages (quotactl(2), ioctl_xfs_fsgetxattr(2)): the kernel this was built on has
neither. The layouts of what is sent are tested; that a kernel with them enforces is not.
"""

import ctypes
import fcntl
import os
import struct
from pathlib import Path

from runtime.system.trees import remove_tree

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# The same number on every architecture; Linux 5.14 and later. It takes a descriptor where quotactl
# wants the path of a block device, which in a container may not even be there.
_SYS_QUOTACTL_FD = 443
_PROJECT_QUOTA = 2
_GET_INFO, _GET_QUOTA, _SET_QUOTA = 0x800005, 0x800007, 0x800008
_BLOCK_LIMITS = 1
_BLOCK = 1024

_ATTRIBUTES = struct.Struct("<5I8s")
_GET_ATTRIBUTES = 2 << 30 | _ATTRIBUTES.size << 16 | ord("X") << 8 | 31
_SET_ATTRIBUTES = 1 << 30 | _ATTRIBUTES.size << 16 | ord("X") << 8 | 32
_INHERIT = 0x200
# Administrators give out small numbers: ours begin here.
_FIRST = 0x8000_0000

_QUOTA = struct.Struct("<8QI4x")


def project_of(inode: int) -> int:
    """Return the project number of a space: its directory's inode, which nothing else on the file system has.

    Inodes of more than 31 bits (XFS beyond a terabyte) are folded.
    """
    return _FIRST | ((inode ^ inode >> 31) & 0x7FFF_FFFF)


def attributes_with(current: bytes, project: int) -> bytes:
    """Return a directory's attributes (struct fsxattr), changed so that all below it counts for the
    project.
    """
    flags, extent, extents, _project, cow_extent, rest = _ATTRIBUTES.unpack(current)
    return _ATTRIBUTES.pack(flags | _INHERIT, extent, extents, project, cow_extent, rest)


def quota_with(amount: int | None) -> bytes:
    """Return a struct if_dqblk that sets the limit to so many bytes, rounded up to KiB; None lifts it."""
    blocks = 0 if amount is None else -(-amount // _BLOCK)
    return _QUOTA.pack(blocks, 0, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS)


def quota_in(answer: bytes) -> tuple[int | None, int]:
    """Limit (None for none) and usage, both in bytes, out of a struct if_dqblk."""
    hard, _soft, used, *_ = _QUOTA.unpack(answer)
    return (hard * _BLOCK or None), used


def is_enforced(top: Path) -> bool:
    """Return whether the file system that holds the directory keeps project quotas now."""
    try:
        _quotactl(top, _GET_INFO, 0, bytearray(24))
    except OSError:
        return False
    return True


class ProjectQuota:
    """A directory per space whose project number everything below it inherits."""

    kind = "project"
    enforces = True

    def __init__(self, top: Path) -> None:
        self._top = top

    def make(self, name: str) -> None:
        """See Quota."""
        path = self._top / name
        path.mkdir(mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            answer = bytearray(_ATTRIBUTES.size)
            fcntl.ioctl(fd, _GET_ATTRIBUTES, answer)
            wanted = bytearray(attributes_with(bytes(answer), project_of(os.fstat(fd).st_ino)))
            if wanted != answer:
                fcntl.ioctl(fd, _SET_ATTRIBUTES, wanted)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """See Quota."""
        path = self._top / name
        if path.exists():
            self.limit(name, None)  # a number without limit and use is forgotten by the kernel
            remove_tree(path)

    def limit(self, name: str, amount: int | None) -> None:
        """See Quota."""
        _quotactl(self._top, _SET_QUOTA, self._project(name), bytearray(quota_with(amount)))

    def limit_of(self, name: str) -> int | None:
        """See Quota."""
        return self._read(name)[0]

    def used(self, name: str) -> int:
        """See Quota."""
        return self._read(name)[1] if (self._top / name).exists() else 0

    def usage(self) -> dict[str, int]:
        """See Quota. One call per space."""
        return {
            entry.name: self.used(entry.name) for entry in self._top.iterdir() if entry.is_dir()
        }

    def limits(self) -> dict[str, int]:
        """See Quota. One call per space."""
        found = {
            entry.name: self.limit_of(entry.name) for entry in self._top.iterdir() if entry.is_dir()
        }
        return {name: amount for name, amount in found.items() if amount is not None}

    def tidy(self) -> int:
        """See Quota. The kernel forgets a number without limit and use by itself."""
        return 0

    def _read(self, name: str) -> tuple[int | None, int]:
        answer = bytearray(_QUOTA.size)
        _quotactl(self._top, _GET_QUOTA, self._project(name), answer)
        return quota_in(bytes(answer))

    def _project(self, name: str) -> int:
        return project_of((self._top / name).stat().st_ino)


def _quotactl(place: Path, command: int, number: int, data: bytearray) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        done = _libc.syscall(
            _SYS_QUOTACTL_FD,
            fd,
            ctypes.c_uint(command << 8 | _PROJECT_QUOTA),
            ctypes.c_uint(number),
            (ctypes.c_char * len(data)).from_buffer(data),
        )
    finally:
        os.close(fd)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"quotactl on {place}: {os.strerror(code)}")
