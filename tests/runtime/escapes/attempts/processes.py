"""Attempts on other processes and on the wide parts of the kernel."""

import ctypes
import mmap
import os
import signal
import struct

from .calls import COLUMN, Attempt, RefusedError, call, call_number


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
    if COLUMN:
        raise RefusedError("no such door on this processor")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return f"pid {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"


def x32_abi() -> str:
    if COLUMN:
        raise RefusedError("no such door on this processor")
    return f"pid {call_number(0x40000000 | 39)}"


ATTEMPTS: dict[str, Attempt] = {
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
}
