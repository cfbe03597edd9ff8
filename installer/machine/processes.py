"""Processes of one Stoa, whatever their parent is: found by what bin/stoa-env wrote before each started."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from settings import inner

_STARTED_FIELD = 19  # of /proc/PID/stat, after the command's name
# The others still need these to end well.
_LAST = frozenset({"postgres", "redis-server"})
_LAST_SECONDS = 20.0
_PROC = Path("/proc")


def of(var: Path) -> list[int]:
    """Return the living processes of the Stoa whose data lie there."""
    found = {pid for file in (var / "run").glob("*.started") if (pid := _named_in(file))}
    mark = f"{inner.SUPERVISED.name}={var}".encode()
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return sorted(found)


def started(pid: int) -> str:
    """When a process started, in clock ticks after boot; "" when it is gone or a zombie."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[_STARTED_FIELD]


def end_all(var: Path, seconds: float) -> None:
    """End all of them, front to back; the keeper has that long to end shops."""
    found = of(var)
    last = [pid for pid in found if _name(pid) in _LAST]
    end(set(found).difference(last), signal.SIGTERM, seconds)
    # To PostgreSQL, TERM would mean: when everybody has left.
    end(last, signal.SIGINT, _LAST_SECONDS)


def end(pids: Iterable[int], how: signal.Signals | None, seconds: float) -> None:
    """Signal processes, wait until they are gone, and kill those that are still there after the time.

    how: None where they have been asked to end in another way.
    """
    waiting = {pid: began for pid in pids if (began := started(pid))}
    deadline = time.monotonic() + seconds
    if how:
        _signal(waiting, how)
    while waiting := {pid: began for pid, began in waiting.items() if started(pid) == began}:
        if time.monotonic() >= deadline:
            _signal(waiting, signal.SIGKILL)
            time.sleep(0.1)
            return
        time.sleep(0.05)


def command_line(pid: int) -> str:
    """Return what a process was started with; "" when it is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _named_in(file: Path) -> int:
    """Return the process of a file with its number and its start; 0 when that one is gone."""
    with suppress(OSError, ValueError):
        pid, began = file.read_text().split()
        if started(int(pid)) == began:
            return int(pid)
    return 0


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def _signal(pids: Iterable[int], how: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, how)
