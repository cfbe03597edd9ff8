"""Attempts on the machine: its clock, its name, its kernel, priority and limits."""

import ctypes
import os
import resource
import struct

from .calls import Attempt, RefusedError, call


def real_time() -> str:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    return "real time"


def core_limit(upper_bits: int) -> str:
    """0 instead of 1 would let the host's crash handler, if it is a program, run for our crashes."""
    call("prlimit64", 0, upper_bits << 32 | 4, struct.pack("=QQ", 0, 0), 0)
    if (limits := resource.getrlimit(resource.RLIMIT_CORE)) != (0, 0):
        raise RefusedError(f"the limit is still {limits}")
    return "set"


ATTEMPTS: dict[str, Attempt] = {
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
}
