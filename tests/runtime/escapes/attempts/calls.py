"""What every attempt is made of: system calls by number, kernel files, and how an attempt may end.

Standard library only, here and beside, and of that only what the tests put into the image.
"""

import ctypes
import os
from collections.abc import Callable

Attempt = Callable[[], object]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Numbers of x86-64 and of arm64; those from 424 on are the same everywhere.
_NUMBERS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "inotify_init1": (294, 26),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
COLUMN = 0 if os.uname().machine == "x86_64" else 1

NEW_NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}


class RefusedError(Exception):
    """The attempt ended differently from an OSError, but was refused all the same."""


def call(name: str, *args: object) -> int:
    """One system call by its number; OSError when the kernel says no."""
    number = _NUMBERS[name][COLUMN]
    plain = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = int(_libc.syscall(ctypes.c_long(number), *plain))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def call_number(number: int) -> int:
    """A system call without arguments by its bare number; OSError when the kernel says no."""
    result = int(_libc.syscall(ctypes.c_long(number)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result


def write(path: str, text: str) -> str:
    with open(path, "w") as file:  # noqa: PTH123 - pathlib is not in the image
        file.write(text)
    return path


def read(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(200).decode("latin-1")


def content(path: str) -> str:
    """What a file holds; masked files are empty."""
    if said := read(path):
        return said
    raise RefusedError("empty")
