"""What containers say: read from their FIFOs, stamped, and kept in files that cannot outgrow their limit.

A container is given FIFOs, not files: it could truncate a file it holds open.
"""

import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runtime.bundle import InstanceDirectory
from runtime.keeper.loop import Loop
from runtime.keeper.processes import say
from runtime.system.files import remove_anything, take_place

STREAMS = ("out", "err")
# Two files of this size at most are kept per instance.
FILE_LIMIT = 512 * 1024
LINE_LIMIT = 8 * 1024
# What one instance may add to its log, the stamps included.
BYTES_PER_SECOND = 256 * 1024
BURST_BYTES = 512 * 1024
# A piece of nothing but ends of lines grows with their stamps to the size of a file at most.
_READ_BYTES = 16 * 1024
# What is left out is read, too, or the program would stand still: 10 MB a second at most.
_DROP_BYTES = 64 * 1024
_DROPS_AT_ONCE = 16
_PAUSE_SECONDS = 0.1


class Allowance:
    """How much an instance may log: so much a second, and after a while of silence so much at once."""

    def __init__(self) -> None:
        self._left = float(BURST_BYTES)
        self._at = time.monotonic()

    def has(self, amount: int) -> bool:
        """Return whether at least so many bytes may be logged now."""
        now = time.monotonic()
        self._left = min(BURST_BYTES, self._left + (now - self._at) * BYTES_PER_SECOND)
        self._at = now
        return self._left >= amount

    def spend(self, amount: int) -> None:
        """So many bytes were logged; what was too much is made up for by waiting."""
        self._left -= amount


@dataclass(slots=True)
class _Gap:
    """What is being left out of a stream: lines so far, and whether it stands in the middle of one."""

    lines: int = 0
    is_in_line: bool = False

    def swallow(self, piece: bytes) -> None:
        self.lines += piece.count(b"\n")
        self.is_in_line = not piece.endswith(b"\n")


class LogReader:
    """The two streams of one instance; the descriptors stay open, so no line is lost between starts.

    Of an instance that logs more than it may, lines are left out and counted. The reader reads no more of
    them than the keeper's time and the disk allow.
    """

    def __init__(
        self,
        directory: InstanceDirectory,
        *,
        fds: dict[str, int] | None = None,
        unfinished: dict[str, bytes] | None = None,
    ) -> None:
        """fds, unfinished: what another reader of the same streams has handed over."""
        self.directory = directory
        self._rest = dict(unfinished or dict.fromkeys(STREAMS, b""))
        self._allowance = Allowance()
        self._gaps: dict[str, _Gap] = {}
        self._loop: Loop | None = None
        self._complaint = ""
        self.fds = fds or {
            stream: os.open(directory.fifo(stream), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            for stream in STREAMS
        }

    def listen(self, loop: Loop) -> None:
        """Let the loop call whenever something is said."""
        self._loop = loop
        for stream in STREAMS:
            loop.watch(self.fds[stream], partial(self._ready, stream))

    def take(self, stream: str) -> bool:
        """Move what waits in a stream to the log, at most 16 KiB; False when nothing waited."""
        try:
            piece = os.read(self.fds[stream], _READ_BYTES)
        except BlockingIOError:
            return False
        if gap := self._gaps.get(stream):
            if gap.is_in_line:
                end = piece.find(b"\n") + 1 or len(piece)
                gap.swallow(piece[:end])
                piece = piece[end:]
            if not piece:
                return True
            self._close_gap(stream)
        lines, self._rest[stream] = split_lines(self._rest[stream] + piece)
        self._append(stream, lines)
        return True

    def drain(self) -> None:
        """Take everything, the last unfinished lines too: the program has ended."""
        for stream in STREAMS:
            while self.take(stream):
                pass
            self._close_gap(stream)
            if self._rest[stream]:
                self._append(stream, [self._rest[stream]])
                self._rest[stream] = b""

    def hand_over(self) -> dict[str, bytes]:
        """Return the lines whose end has not come yet, by stream; first log how much was left out."""
        for stream in STREAMS:
            self._close_gap(stream)
        return dict(self._rest)

    @property
    def is_current(self) -> bool:
        """Whether the FIFOs that are read are those that lie in the directory."""
        try:
            return all(
                os.path.samestat(os.fstat(fd), self.directory.fifo(stream).lstat())
                for stream, fd in self.fds.items()
            )
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the FIFOs."""
        for fd in self.fds.values():
            if self._loop:
                self._loop.forget(fd)
            os.close(fd)
        self.fds = {}

    def _ready(self, stream: str) -> None:
        """The loop's call: one piece, so that one who talks much does not keep the others waiting."""
        if stream not in self.fds or self._loop is None:
            return
        if not self._allowance.has(BURST_BYTES // 2 if stream in self._gaps else 1):
            self._leave_out(stream)
            self._loop.forget(self.fds[stream])
            self._loop.after(_PAUSE_SECONDS, partial(self._ready, stream))
            return
        was_gap = stream in self._gaps
        if not self.take(stream):
            self._close_gap(stream)
        if was_gap:
            self._loop.watch(self.fds[stream], partial(self._ready, stream))

    def _leave_out(self, stream: str) -> None:
        gap = self._gaps.get(stream)
        if gap is None:
            gap = self._gaps[stream] = _Gap(is_in_line=bool(self._rest[stream]))
            self._rest[stream] = b""
        for _ in range(_DROPS_AT_ONCE):
            try:
                gap.swallow(os.read(self.fds[stream], _DROP_BYTES))
            except BlockingIOError:
                return

    def _close_gap(self, stream: str) -> None:
        """Log how much was left out; no-op if nothing was."""
        gap = self._gaps.pop(stream, None)
        if gap:
            lines = gap.lines + gap.is_in_line
            line = f"{lines} lines dropped: this instance logged more than it may"
            self._append(stream, [line.encode()])

    def _append(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        start = f"{stamp(time.time())} {stream} ".encode()
        text = b"".join(b"%b%b\n" % (start, line) for line in lines)
        self._allowance.spend(len(text))
        try:
            self._write(text)
        except OSError as error:  # a full disk or a damaged log is no trouble of the program
            if str(error) != self._complaint:
                say(f"the log of {self.directory.root.name} is not written: {error}")
            self._complaint = str(error)

    def _write(self, text: bytes) -> None:
        if self.directory.log.is_dir():
            remove_anything(self.directory.log)
        fd = os.open(
            self.directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(fd, text)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > FILE_LIMIT:
            take_place(self.directory.log, self.directory.old_log)


def renewed(logs: LogReader, loop: Loop) -> LogReader:
    """Return the same reader, or another one where somebody took the FIFOs away or put something in their
    place.
    """
    if logs.is_current:
        return logs
    try:
        logs.directory.make_fifos()
        fresh = LogReader(logs.directory)
    except OSError as error:
        say(f"the log of {logs.directory.root.name} cannot be opened: {error}")
        return logs
    logs.close()
    fresh.listen(loop)
    return fresh


def split_lines(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, none longer than LINE_LIMIT, and the unfinished rest."""
    *lines, rest = data.split(b"\n")
    found: list[bytes] = []
    for line in lines:
        found += _pieces(line) or [b""]
    if len(rest) >= LINE_LIMIT:
        *full, rest = _pieces(rest)
        found += full
    return found, rest


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + LINE_LIMIT] for at in range(0, len(line), LINE_LIMIT)]


def stamp(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds; time.strftime, for datetime would be one module more."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def tail(directory: InstanceDirectory, lines: int) -> tuple[str, ...]:
    """Return the newest lines of an instance's log, oldest first."""
    found: list[str] = []
    for path in (directory.log, directory.old_log):
        if len(found) < lines:
            found = _lines_of(path) + found
    return tuple(found[-lines:]) if lines > 0 else ()


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").split("\n")[:-1]
    except OSError:  # not there, or damaged: the other file may be well
        return []
