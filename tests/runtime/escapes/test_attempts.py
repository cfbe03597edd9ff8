"""System calls and kernel files of the known escapes: tried inside, and each refused as it must be.

The control at the end tries the same on this machine without a container: what gets no further there
proves nothing here. Attempts that would change the machine have no control but their exact errno.
"""

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from tests.runtime.escapes.attempts.everything import ATTEMPTS
from tests.runtime.escapes.conftest import Prisoner
from tests.runtime.escapes.prisons import HERE, TRY

pytestmark = pytest.mark.root

EPERM, ENOSYS, EROFS = ("EPERM",), ("ENOSYS",), ("EROFS",)
ABSENT_OR_EROFS = ("EROFS", "ENOENT")  # some kernels do not have the file
CLOSED = ("ENOENT", "EACCES", "EPERM", "refused: empty")

REFUSALS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "mount-tmpfs", "mount-proc", "mount-cgroup", "mount-cgroup2", "mount-bind",
            "remount-proc-sys", "umount-proc-mask", "fsopen", "open_tree", "move_mount",
            "mount_setattr", "pivot_root", "chroot", "quotactl", "swapon", "swapoff",
            "open_by_handle_at", "name_to_handle_at", "fanotify_init", "trusted-xattr",
            "mknod-disk", "mknod-memory", "mknod-kmsg", "mknod-fuse", "mknod-null",
            "ioperm", "iopl", "reboot", "kexec_load", "init_module", "finit_module",
            "delete_module", "settimeofday", "clock_settime", "sethostname", "syslog", "acct",
            "vhangup", "real-time", "ptrace", "process_vm_readv", "pidfd_getfd", "kcmp", "bpf",
            "userfaultfd", "userfaultfd-user", "perf_event_open", "io_uring", "add_key",
            "request_key", "keyctl", "setns", "socket-raw", "uid-map",
            *(f"unshare-{kind}" for kind in (
                "mount", "cgroup", "uts", "ipc", "user", "pid", "network", "time")),
        ),
        EPERM,
    ),
    **dict.fromkeys(
        (
            "type-into-terminal", "type-into-terminal-64", "subvolume", "subvolume-64",
            "adjtimex", "clone3", "socket-packet", "socket-vsock", "socket-alg",
            *(f"clone-{kind}" for kind in (
                "mount", "cgroup", "uts", "ipc", "user", "pid", "network")),
        ),
        ENOSYS,
    ),
    **dict.fromkeys(
        ("core_pattern", "panic", "user-namespaces-again", "ip_forward", "drop_caches", "uevent"),
        EROFS,
    ),
    **dict.fromkeys(
        (
            "modprobe", "binfmt_misc", "ipv6-on", "irq", "uevent_helper", "module-parameter",
            "power", "sysrq-trigger",
        ),
        ABSENT_OR_EROFS,
    ),
    **dict.fromkeys(("kmsg", "proc-kmsg", "kcore", "keys", "timer_list"), CLOSED),
    "nice": ("EACCES", "EPERM"),
    "oom-score-lower": ("EACCES",),
    "more-files": ("refused: not allowed to raise maximum limit", "EPERM"),
    "socket-audit": ("ECONNREFUSED", "EPERM", "EPROTONOSUPPORT"),
    # Killed, not refused: a system call of another world has no number our filter could mean.
    "system-calls-of-32-bit": ("killed by 31", "refused: no such door on this processor"),
    "system-calls-of-x32": ("killed by 31", "refused: no such door on this processor"),
    "crun": ("EACCES",),
    "core-limit": ("refused: the limit is still (1, 1)",),
    "core-limit-64": ("refused: the limit is still (1, 1)",),
}  # fmt: skip

# What root may do to the machine itself is not tried on it; what needs the container's own files neither.
_NOT_ON_THE_HOST = {
    "core_pattern", "panic", "user-namespaces-again", "ip_forward", "drop_caches", "uevent",
    "modprobe", "binfmt_misc", "ipv6-on", "irq", "uevent_helper", "module-parameter", "power",
    "sysrq-trigger", "kmsg", "proc-kmsg", "kcore", "keys", "timer_list", "crun", "uid-map",
    "mknod-disk", "mknod-memory", "umount-proc-mask", "remount-proc-sys",
}  # fmt: skip
# This kernel may lack it, or this machine's root the right; then the control says nothing.
_MAY_LACK = {
    "kexec_load", "init_module", "finit_module", "delete_module", "ioperm", "iopl", "socket-alg",
    "socket-vsock", "system-calls-of-32-bit", "system-calls-of-x32", "settimeofday",
    "clock_settime", "adjtimex", "mknod-kmsg", "mknod-fuse", "socket-audit", "real-time",
    "mount-cgroup", "more-files", "oom-score-lower", "quotactl", "swapon", "swapoff",
    "unshare-time", "reboot", "perf_event_open", "io_uring", "bpf", "clone-user", "unshare-user",
    "clone3", "acct", "type-into-terminal", "type-into-terminal-64",
}  # fmt: skip


@pytest.fixture(scope="session")
def ended(prisoner: Prisoner) -> dict[str, str]:
    """How each attempt ended inside."""
    return prisoner.tries(*REFUSALS)


def test_every_attempt_has_its_refusal_in_the_table() -> None:
    assert set(REFUSALS) == set(ATTEMPTS)


@pytest.mark.parametrize("name", REFUSALS)
def test_it_is_refused(prisoner: Prisoner, ended: dict[str, str], name: str) -> None:
    if name == "crun" and prisoner.kind == "root":
        pytest.skip("root inside may write its own /usr/bin; test_crun.py looks at the host's")
    assert ended[name] in REFUSALS[name]


@cache
def _on_the_host() -> dict[str, str]:
    names = [name for name in REFUSALS if name not in _NOT_ON_THE_HOST]
    done = subprocess.run(
        [sys.executable, "-c", TRY, "--control", *names],
        check=True,
        capture_output=True,
        text=True,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": ""},
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", [name for name in REFUSALS if name not in _NOT_ON_THE_HOST])
def test_without_a_container_the_same_call_gets_further(name: str) -> None:
    ended = _on_the_host()[name]
    if ended in REFUSALS[name] and name in _MAY_LACK:
        pytest.skip(f"root on this machine is told {ended} as well")
    assert ended not in REFUSALS[name]
