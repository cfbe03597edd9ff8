"""What the keeper asks and tells processes and people: /proc, pidfds, signals, standard error."""

import fcntl
import os
import re
import signal
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.system import syscalls
from runtime.system.commands import shell_code

EXIT_UNKNOWN = 255
# Those the keeper handles itself.
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_TICKS = os.sysconf("SC_CLK_TCK")
# struct pidfd_info as of Linux 6.13; asking for the exit code needs 6.15.
_INFO_SIZE = 64
_PIDFD_GET_INFO = 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3
# Its numbers begin where libc says, 34; Docker and systemd name them from either end.
_REALTIME = re.compile(r"(?:SIG)?RT(MIN|MAX)([+-][0-9]{1,2})?")
# The number of rt_sigtimedwait, as /proc/<pid>/syscall shows it.
_SIGTIMEDWAIT = {"x86_64": "128", "aarch64": "137"}


def start_ticks(pid: int) -> int:
    """Return when a process began, in clock ticks since boot: with the pid it names a process for good. 0:
    gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The name in brackets may hold anything, brackets and blanks too.
    fields = text[text.rindex(")") + 2 :].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def age_seconds(ticks: int, *, uptime: float) -> float:
    """Return how long a process that began at ticks has run; uptime as CLOCK_BOOTTIME gives it."""
    return max(0.0, uptime - ticks / _TICKS)


def takes(pid: int, number: int) -> bool:
    """Return whether a process has something in mind for a signal: a handler, or it blocks it.

    Who blocks a signal takes it by sigwait or a signalfd, as tini and s6 do.
    """
    return _is_in(pid, number, ("SigCgt:", "SigBlk:")) or _waits_for(pid, number)


def heeds(pid: int, number: int) -> bool:
    """Return whether PID 1 of a namespace is to be given its time after a signal: it takes it, or ignores it
    by its own design. To one that does neither the kernel does not deliver the signal at all.
    """
    return _is_in(pid, number, ("SigCgt:", "SigBlk:", "SigIgn:")) or _waits_for(pid, number)


def is_first_process(pid: int) -> bool:
    """Return whether a process is PID 1 of a namespace and the program itself, not crun about to
    become it.
    """
    try:
        if "crun" in os.readlink(f"/proc/{pid}/exe"):  # noqa: PTH115
            return False
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"


def is_stopped(pid: int) -> bool:
    """Return whether a process stands still because of a signal (SIGSTOP)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text[text.rindex(")") + 2] == "T"


def _waits_for(pid: int, number: int) -> bool:
    """Return whether a process is inside sigwait for a signal: just then the kernel shows it as not
    blocked.
    """
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
        if len(call) < 2 or call[0] != _SIGTIMEDWAIT.get(os.uname().machine):
            return False
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(int(call[1], 16))
            (waited_for,) = struct.unpack("=Q", memory.read(8))
    except PermissionError:
        return True  # it cannot be seen: to wait in vain is better than to take its last words away
    except (OSError, ValueError, OverflowError, struct.error):
        return False
    return bool(waited_for >> (number - 1) & 1)


def _is_in(pid: int, number: int, masks: tuple[str, ...]) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(
        int(line.split()[1], 16) >> (number - 1) & 1
        for line in status.splitlines()
        if line.startswith(masks)
    )


def is_at_work(pid: int) -> bool:
    """Return whether a thread of a process runs, waits for its turn on the processor, or for a disk.

    On a host that is full a program at work may get next to no processor time.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        texts = [Path(f"/proc/{pid}/task/{thread}/stat").read_text() for thread in threads]
    except (OSError, ValueError):
        return False
    return any(text[text.rindex(")") + 2] in "RD" for text in texts)


def signal_number(name: str) -> int:
    """Return the number of a stop signal as images write it (`SIGTERM`, `term`, `15`, `SIGRTMIN+3`); TERM
    when unknown.
    """
    if name.isdigit() and 1 <= int(name) <= signal.SIGRTMAX:
        return int(name)
    if found := _REALTIME.fullmatch(name.upper()):
        base = signal.SIGRTMIN if found[1] == "MIN" else signal.SIGRTMAX
        number = base + int(found[2] or 0)
        return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else signal.SIGTERM
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"].value
    except KeyError:
        return signal.SIGTERM


def exit_code(wait_status: int) -> int:
    """Return a wait status as shells show it: 128 + signal for a process that was killed."""
    return shell_code(os.waitstatus_to_exitcode(wait_status))


def exit_code_of_stranger(pidfd: int) -> int:
    """Return the exit code of a process that is not our child, or EXIT_UNKNOWN on kernels that do
    not tell.
    """
    asked = bytearray(struct.pack("=Q", _PIDFD_INFO_EXIT).ljust(_INFO_SIZE, b"\0"))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, asked)
    except OSError:
        return EXIT_UNKNOWN
    (given,) = struct.unpack_from("=Q", asked, 0)
    if not given & _PIDFD_INFO_EXIT:
        return EXIT_UNKNOWN
    (status,) = struct.unpack_from("=i", asked, _INFO_SIZE - 4)
    return exit_code(status)


def ended_children() -> Iterator[tuple[int, int]]:
    """Yield every child that has ended, with its wait status; it is collected."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def become_helper(name: str) -> None:
    """Make the calling process, forked from the keeper, end with it and take signals as any program does."""
    syscalls.die_with_parent(signal.SIGKILL)  # nothing outlives the keeper half done
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    syscalls.name_process(name)


def send_signal(pid: int, number: int) -> None:
    """Signal a process; no-op if it is gone or there is none (0)."""
    if pid > 0:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def say(text: str) -> None:
    """One line for the operator, on our own standard error."""
    os.write(2, f"keeper: {text}\n".encode())
