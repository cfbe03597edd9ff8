"""Attempts on mounts and file systems."""

import os
import struct

from .calls import Attempt, call, write


def handle() -> str:
    """CVE-2014-9715 and "shocker": open the host's root by its inode number."""
    mount_fd = os.open("/etc/hosts", os.O_RDONLY)
    one = struct.pack("=IIQQ", 8, 1, 2, 0)
    fd = call("open_by_handle_at", mount_fd, one, os.O_RDONLY)
    return f"descriptor {fd}: {os.listdir(fd)[:5]}"  # noqa: PTH208


def set_user_xattr_of_overlay() -> str:
    path = write(f"/tmp/x-{os.getpid()}", "")
    os.setxattr(path, "trusted.overlay.redirect", b"/etc")
    return path


def remount(path: str) -> str:
    call("mount", b"none", path.encode(), 0, 0x20 | 0x1000, 0)  # MS_REMOUNT | MS_BIND
    return "remounted"


ATTEMPTS: dict[str, Attempt] = {
    "mount-tmpfs": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, 0),
    "mount-proc": lambda: call("mount", b"none", b"/tmp", b"proc", 0, 0),
    "mount-cgroup": lambda: call("mount", b"none", b"/tmp", b"cgroup", 0, b"memory"),
    "mount-cgroup2": lambda: call("mount", b"none", b"/tmp", b"cgroup2", 0, 0),
    "mount-bind": lambda: call("mount", b"/", b"/tmp", 0, 0x1000, 0),
    "remount-proc-sys": lambda: remount("/proc/sys"),
    "umount-proc-mask": lambda: call("umount2", b"/proc/kcore", 2),
    "fsopen": lambda: call("fsopen", b"tmpfs", 0),
    "open_tree": lambda: call("open_tree", -100, b"/", 1),
    "move_mount": lambda: call("move_mount", -100, b"/tmp", -100, b"/var", 0),
    "mount_setattr": lambda: call("mount_setattr", -100, b"/tmp", 0, bytes(32), 32),
    "pivot_root": lambda: call("pivot_root", b"/tmp", b"/tmp"),
    "chroot": lambda: call("chroot", b"/tmp"),
    "quotactl": lambda: call("quotactl", 0x80000200, b"/dev/null", 0, bytes(128)),
    "swapon": lambda: call("swapon", b"/nowhere", 0),
    "swapoff": lambda: call("swapoff", b"/nowhere"),
    "open_by_handle_at": handle,
    "name_to_handle_at": lambda: call(
        "name_to_handle_at", -100, b"/etc", struct.pack("=II", 120, 0) + bytes(120), bytes(4), 0
    ),
    "fanotify_init": lambda: call("fanotify_init", 0, 0),
    "trusted-xattr": set_user_xattr_of_overlay,
}
