"""Attempts on devices: the machine's, terminals, and what a file system takes by ioctl."""

import os
import stat

from .calls import Attempt, call

_TIOCSTI = 0x5412
_BTRFS_SUBVOL_CREATE = 0x5000940E


def node(kind: int, major: int, minor: int) -> str:
    path = f"/tmp/node-{os.getpid()}"
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    try:
        os.close(os.open(path, os.O_RDONLY))
    finally:
        os.unlink(path)  # noqa: PTH108
    return path


def push_key(upper_bits: int) -> str:
    """TIOCSTI types into a terminal; the upper half of the argument is ignored by the kernel."""
    master, slave = os.openpty()
    os.setsid()
    call("ioctl", slave, 0x540E, 0)  # TIOCSCTTY
    call("ioctl", slave, upper_bits << 32 | _TIOCSTI, b"x")
    return f"typed {os.read(master, 1)!r}"


def subvolume(upper_bits: int) -> str:
    fd = os.open("/tmp", os.O_RDONLY)
    call("ioctl", fd, upper_bits << 32 | _BTRFS_SUBVOL_CREATE, bytes(8) + b"sub".ljust(4088, b"\0"))
    return "made"


ATTEMPTS: dict[str, Attempt] = {
    "mknod-disk": lambda: node(stat.S_IFBLK, 254, 0),
    "mknod-memory": lambda: node(stat.S_IFCHR, 1, 1),
    "mknod-kmsg": lambda: node(stat.S_IFCHR, 1, 11),
    "mknod-fuse": lambda: node(stat.S_IFCHR, 10, 229),
    "mknod-null": lambda: node(stat.S_IFCHR, 1, 3),
    "ioperm": lambda: call("ioperm", 0x70, 1, 1),
    "iopl": lambda: call("iopl", 3),
    "type-into-terminal": lambda: push_key(0),
    "type-into-terminal-64": lambda: push_key(1),
    "subvolume": lambda: subvolume(0),
    "subvolume-64": lambda: subvolume(1),
}
