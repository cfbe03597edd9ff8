"""The system calls that Python 3.11 has no function for, each as one small typed function.

They are called in processes forked from the keeper, where nothing may be imported or executed in a
hurry: ctypes is loaded once, and every failure is an OSError that names the call.
"""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOATIME = 1024
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x00100000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
# The same numbers on every architecture: these calls are younger than the unified table.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_RENAME_EXCHANGE = 2
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13
_SYS_IOPRIO_SET = {"x86_64": 251}.get(os.uname().machine, 30)

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(parent: int, path: str, flags: int) -> int:
    """Open what lies below the directory parent, refusing every link on the way; the new descriptor."""
    how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    fd: int = _libc.syscall(
        _SYS_OPENAT2,
        parent,
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    _checked(fd, "openat2")
    return fd


def exchange(first: str, second: str) -> None:
    """Let two names change places, at once for everybody who looks."""
    done = _libc.renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    _checked(done, f"exchange {first} and {second}")


def sync_filesystem(fd: int) -> None:
    """Return once everything written to the file system of fd is on the disk."""
    _checked(_libc.syncfs(fd), "syncfs")


def yield_disk() -> None:
    """Let the calling thread read and write only when nobody else wants to."""
    _checked(_libc.syscall(_SYS_IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE), "ioprio_set")


def claim_disk() -> None:
    """Take `yield_disk` back for the calling thread."""
    _checked(_libc.syscall(_SYS_IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, 0), "ioprio_set")


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own (CLONE_NEW*)."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace that fd stands for."""
    _checked(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2); source and kind may be "" where the flags need none."""
    done = _libc.mount(
        source.encode() or None,
        target.encode(),
        kind.encode() or None,
        flags,
        data.encode() or None,
    )
    _checked(done, f"mount {kind or 'flags'} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """Detach what is mounted on target, at once for new lookups; with flags 0 only when nobody uses it."""
    _checked(_libc.umount2(target.encode(), flags), f"umount {target}")


def attach_idmapped(source: str, target: str, *, userns_fd: int, attributes: int = 0) -> None:
    """Mount the directory source on target with its ids seen through a user namespace.

    A file owned on disk by id n belongs, through the new mount, to what n means in that namespace.
    attributes: MOUNT_ATTR_* besides the mapping.
    """
    tree = _libc.syscall(
        _SYS_OPEN_TREE, _AT_FDCWD, source.encode(), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    )
    _checked(tree, f"open_tree {source}")
    try:
        wanted = _MountAttr(MOUNT_ATTR_IDMAP | attributes, 0, 0, userns_fd)
        done = _libc.syscall(
            _SYS_MOUNT_SETATTR,
            tree,
            b"",
            _AT_EMPTY_PATH,
            ctypes.byref(wanted),
            ctypes.c_size_t(ctypes.sizeof(wanted)),
        )
        _checked(done, f"mount_setattr {source}")
        done = _libc.syscall(
            _SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH
        )
        _checked(done, f"move_mount {source} to {target}")
    finally:
        os.close(tree)


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send the signal when the parent process ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl PDEATHSIG")


def become_subreaper() -> None:
    """Make orphans among our descendants our children, so that their exit codes reach us."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl SUBREAPER")


def name_process(name: str) -> None:
    """Set what `ps` shows as the command (15 bytes at most)."""
    _checked(_libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl NAME")


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
