"""What a hostile program tries. Runs inside a container (and, as the control, on the host itself).

`python attempts.py NAME…` tries each in a process of its own and prints one JSON object: name → how it
ended: an error's name ("EPERM"), "ok …" when the kernel did it, "killed by N". With `--control` first,
each process gets namespaces of its own before it tries, so that what succeeds harms nobody.
Standard library only, and of that only what the tests put into the image.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable
from functools import partial

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
_COLUMN = 0 if os.uname().machine == "x86_64" else 1

NEW_NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
_TIOCSTI = 0x5412
_BTRFS_SUBVOL_CREATE = 0x5000940E


class RefusedError(Exception):
    """The attempt ended differently from an OSError, but was refused all the same."""


def call(name: str, *args: object) -> int:
    """One system call by its number; OSError when the kernel says no."""
    number = _NUMBERS[name][_COLUMN]
    plain = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = int(_libc.syscall(ctypes.c_long(number), *plain))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def write(path: str, text: str) -> str:
    with open(path, "w") as file:  # noqa: PTH123 - pathlib is not in the image
        file.write(text)
    return path


def read(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(200).decode("latin-1")


def node(kind: int, major: int, minor: int) -> str:
    path = f"/tmp/node-{os.getpid()}"
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    try:
        os.close(os.open(path, os.O_RDONLY))
    finally:
        os.unlink(path)  # noqa: PTH108
    return path


def clone(flags: int) -> str:
    pid = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child in a new namespace"


def clone3_user() -> str:
    args = struct.pack("=11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    pid = call("clone3", args, len(args))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a child"


def ptrace_child() -> str:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        call("ptrace", 16, pid, 0, 0)  # PTRACE_ATTACH
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return "attached"


def read_memory() -> str:
    place = ctypes.create_string_buffer(b"secret", 8)
    got = ctypes.create_string_buffer(8)
    local = struct.pack("=QQ", ctypes.addressof(got), 8)
    remote = struct.pack("=QQ", ctypes.addressof(place), 8)
    call("process_vm_readv", os.getpid(), local, 1, remote, 1, 0)
    return "read"


def take_descriptor() -> str:
    own = os.pidfd_open(os.getpid())
    call("pidfd_getfd", own, 1, 0)
    return "taken"


def handle() -> str:
    """CVE-2014-9715 and "shocker": open the host's root by its inode number."""
    mount_fd = os.open("/etc/hosts", os.O_RDONLY)
    one = struct.pack("=IIQQ", 8, 1, 2, 0)
    fd = call("open_by_handle_at", mount_fd, one, os.O_RDONLY)
    return f"descriptor {fd}: {os.listdir(fd)[:5]}"  # noqa: PTH208


def load_bpf() -> str:
    """A program of two instructions: r0 = 0; exit."""
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("=IIQQ", 1, 2, ctypes.addressof(code), ctypes.addressof(licence)).ljust(
        120, b"\0"
    )
    return f"descriptor {call('bpf', 5, attr, len(attr))}"


def perf() -> str:
    attr = struct.pack("=IIQ", 1, 112, 0).ljust(112, b"\0")
    return f"descriptor {call('perf_event_open', attr, 0, -1, -1, 0)}"


def io_uring() -> str:
    return f"descriptor {call('io_uring_setup', 4, bytes(120))}"


def old_abi() -> str:
    """getpid by int 0x80: system calls of the 32-bit world have other numbers than the filter's."""
    if _COLUMN:
        raise RefusedError("no such door on this processor")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return f"pid {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"


def x32_abi() -> str:
    if _COLUMN:
        raise RefusedError("no such door on this processor")
    return f"pid {_checked(_libc.syscall(ctypes.c_long(0x40000000 | 39)))}"


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result


def raw_socket(family: int, kind: int, protocol: int) -> str:
    socket.socket(family, kind, protocol).close()
    return "a socket"


def enter(kind: str, pid: int) -> str:
    fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    call("setns", fd, 0)
    return "entered"


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


def core_limit(upper_bits: int) -> str:
    """0 instead of 1 would let the host's crash handler, if it is a program, run for our crashes."""
    call("prlimit64", 0, upper_bits << 32 | 4, struct.pack("=QQ", 0, 0), 0)
    if (limits := resource.getrlimit(resource.RLIMIT_CORE)) != (0, 0):
        raise RefusedError(f"the limit is still {limits}")
    return "set"


def real_time() -> str:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    return "real time"


def set_user_xattr_of_overlay() -> str:
    path = write(f"/tmp/x-{os.getpid()}", "")
    os.setxattr(path, "trusted.overlay.redirect", b"/etc")
    return path


def remount(path: str) -> str:
    call("mount", b"none", path.encode(), 0, 0x20 | 0x1000, 0)  # MS_REMOUNT | MS_BIND
    return "remounted"


def audit() -> str:
    """Audit messages want a capability; sending one tells."""
    with socket.socket(16, socket.SOCK_RAW, 9) as door:
        door.send(struct.pack("=IHHII", 16, 1000, 5, 1, 0))
        code = struct.unpack_from("=i", door.recv(200), 16)[0]
    if code:
        raise OSError(-code, "audit")
    return "answered"


def content(path: str) -> str:
    """What a file holds; masked files are empty."""
    if said := read(path):
        return said
    raise RefusedError("empty")


ATTEMPTS: dict[str, Callable[[], object]] = {
    # mounts and file systems
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
    # devices
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
    # the machine
    "reboot": lambda: call("reboot", 0, 0, 0, 0),  # wrong magic numbers: harmless where allowed
    "kexec_load": lambda: call("kexec_load", 0, 99, 0, 1 << 20),
    "init_module": lambda: call("init_module", bytes(64), 64, b""),
    "finit_module": lambda: call("finit_module", 0, b"", 0),
    "delete_module": lambda: call("delete_module", b"no_such_module", 0o4000),
    "settimeofday": lambda: call("settimeofday", struct.pack("=qq", -1, -1), 0),
    "clock_settime": lambda: call("clock_settime", 0, struct.pack("=qq", -1, -1)),
    "adjtimex": lambda: call("adjtimex", struct.pack("=I", 0x4000).ljust(208, b"\0")),
    "sethostname": lambda: call("sethostname", b"other", 5),
    "syslog": lambda: call("syslog", 3, ctypes.create_string_buffer(4096), 4096),
    "acct": lambda: call("acct", b"/nowhere"),
    "vhangup": lambda: call("vhangup"),
    "real-time": real_time,
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -10),
    "more-files": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
    "core-limit": lambda: core_limit(0),
    "core-limit-64": lambda: core_limit(1),
    # other processes, kernel surface
    "ptrace": ptrace_child,
    "process_vm_readv": read_memory,
    "pidfd_getfd": take_descriptor,
    "kcmp": lambda: call("kcmp", os.getpid(), os.getpid(), 0, 0, 1),
    "bpf": load_bpf,
    "userfaultfd": lambda: call("userfaultfd", 0),
    "userfaultfd-user": lambda: call("userfaultfd", 1),
    "perf_event_open": perf,
    "io_uring": io_uring,
    "add_key": lambda: call("add_key", b"user", b"name", b"value", 5, -2),
    "request_key": lambda: call("request_key", b"user", b"name", 0, 0),
    "keyctl": lambda: call("keyctl", 0, -3, 1),
    "system-calls-of-32-bit": old_abi,
    "system-calls-of-x32": x32_abi,
    # namespaces
    **{f"unshare-{name}": partial(call, "unshare", flag) for name, flag in NEW_NAMESPACES.items()},
    "unshare-time": lambda: call("unshare", 0x80),
    **{f"clone-{name}": partial(clone, flag) for name, flag in NEW_NAMESPACES.items()},
    "clone3": clone3_user,
    "setns": lambda: enter("uts", os.getppid()),
    # sockets that see or change more than their own connections
    "socket-raw": lambda: raw_socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "socket-packet": lambda: raw_socket(17, socket.SOCK_RAW, 0x0300),
    "socket-vsock": lambda: raw_socket(40, socket.SOCK_STREAM, 0),
    "socket-alg": lambda: raw_socket(38, socket.SOCK_SEQPACKET, 0),
    "socket-audit": audit,
    # files of the kernel
    "core_pattern": lambda: write("/proc/sys/kernel/core_pattern", "|/data/run"),
    "modprobe": lambda: write("/proc/sys/kernel/modprobe", "/data/run"),
    "panic": lambda: write("/proc/sys/kernel/panic", "1"),
    "user-namespaces-again": lambda: write("/proc/sys/user/max_user_namespaces", "10"),
    "ip_forward": lambda: write("/proc/sys/net/ipv4/ip_forward", "1"),
    "ipv6-on": lambda: write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0"),
    "binfmt_misc": lambda: write("/proc/sys/fs/binfmt_misc/register", ":x:M::x::/data/run:"),
    "sysrq-trigger": lambda: write("/proc/sysrq-trigger", "h"),
    "kmsg": lambda: read("/dev/kmsg"),
    "proc-kmsg": lambda: read("/proc/kmsg"),
    "kcore": lambda: content("/proc/kcore"),
    "keys": lambda: content("/proc/keys"),
    "timer_list": lambda: content("/proc/timer_list"),
    "irq": lambda: write("/proc/irq/default_smp_affinity", "1"),
    "uevent_helper": lambda: write("/sys/kernel/uevent_helper", "/data/run"),
    "uevent": lambda: write("/sys/class/net/lo/uevent", "add"),
    "module-parameter": lambda: write("/sys/module/kernel/parameters/panic", "1"),
    "power": lambda: write("/sys/power/state", "mem"),
    "drop_caches": lambda: write("/proc/sys/vm/drop_caches", "1"),
    "oom-score-lower": lambda: write("/proc/self/oom_score_adj", "-500"),
    "uid-map": lambda: write("/proc/self/uid_map", "0 0 4294967295"),
    "crun": lambda: write("/usr/bin/crun", "#!/data/run"),
}


def step_aside() -> None:
    """Namespaces of its own but for users and processes: root may then try what the kernel allows root."""
    kinds = ("mount", "cgroup", "uts", "ipc", "network")
    call("unshare", sum(NEW_NAMESPACES[kind] for kind in kinds))
    call("mount", b"none", b"/", 0, 0x44000, 0)  # MS_REC | MS_PRIVATE


def outcome(body: Callable[[], object], *, control: bool) -> str:
    """How an attempt ended, in a process of its own: some end the process, some change it for good."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if control:
                step_aside()
            said = f"ok {body()}"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, str(error.errno))
        except ValueError as error:  # setrlimit above the hard limit
            said = f"refused: {error}"
        except RefusedError as error:
            said = f"refused: {error}"
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as answer:
        said = answer.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said or f"killed by {-ended}"


if __name__ == "__main__":
    signal.alarm(60)
    control = sys.argv[1:2] == ["--control"]
    names = sys.argv[2:] if control else sys.argv[1:]
    print(json.dumps({name: outcome(ATTEMPTS[name], control=control) for name in names}))
