"""What containers say: read from their FIFOs, stamped, and kept in files that cannot outgrow their ceiling.

A container is given FIFOs, not files: it could truncate a file it holds open.
"""

import os
import time
from pathlib import Path

from runtime.bundle import InstanceDirectory

STREAMS = ("out", "err")
# Two files of this size at most are kept per instance.
FILE_CEILING = 512 * 1024
LINE_CEILING = 8 * 1024
_READ_BYTES = 64 * 1024


class LogReader:
    """The two streams of one instance; the descriptors stay open, so no line is lost between starts."""

    def __init__(self, directory: InstanceDirectory) -> None:
        self._directory = directory
        self._rest = dict.fromkeys(STREAMS, b"")
        self.fds = {
            stream: os.open(directory.fifo(stream), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            for stream in STREAMS
        }

    def take(self, stream: str) -> bool:
        """Move what waits in a stream to the log, at most 64 KiB; False when nothing waited."""
        try:
            piece = os.read(self.fds[stream], _READ_BYTES)
        except BlockingIOError:
            return False
        lines, self._rest[stream] = split_lines(self._rest[stream] + piece)
        self._append(stream, lines)
        return True

    def ready(self, stream: str) -> None:
        """The loop's call: take once, so that one who talks much does not keep the others waiting."""
        self.take(stream)

    def drain(self) -> None:
        """Take everything, the last unfinished lines too: the program has ended."""
        for stream in STREAMS:
            while self.take(stream):
                pass
            if self._rest[stream]:
                self._append(stream, [self._rest[stream]])
                self._rest[stream] = b""

    def close(self) -> None:
        """Let go of the FIFOs."""
        for fd in self.fds.values():
            os.close(fd)

    def _append(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        start = f"{stamp(time.time())} {stream} ".encode()
        text = b"".join(b"%b%b\n" % (start, line) for line in lines)
        fd = os.open(
            self._directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(fd, text)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > FILE_CEILING:
            self._directory.log.replace(self._directory.old_log)


def split_lines(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, none longer than LINE_CEILING, and the unfinished rest."""
    *lines, rest = data.split(b"\n")
    found: list[bytes] = []
    for line in lines:
        found += _pieces(line) or [b""]
    if len(rest) >= LINE_CEILING:
        *full, rest = _pieces(rest)
        found += full
    return found, rest


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + LINE_CEILING] for at in range(0, len(line), LINE_CEILING)]


def stamp(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds; time.strftime, for datetime would be one module more."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def tail(directory: InstanceDirectory, lines: int) -> tuple[str, ...]:
    """The newest lines of an instance's log, oldest first."""
    found: list[str] = []
    for path in (directory.log, directory.old_log):
        if len(found) < lines:
            found = _lines_of(path) + found
    return tuple(found[-lines:]) if lines > 0 else ()


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").split("\n")[:-1]
    except FileNotFoundError:
        return []
