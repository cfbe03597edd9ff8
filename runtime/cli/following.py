"""Reading an instance's log from the command line: its newest lines, and what comes after them.

The keeper appends to `log`, renames it to `log.1` when it is full, and begins another. A follower holds the
file it reads open, so a rotation takes no line away from it. It remembers its place in that file, so
nothing is printed twice. Only a file that is begun and removed with its instance within one look (a tenth
of a second) is never seen.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.bundle import InstanceDirectory

_LOOK_SECONDS = 0.1
_PIECE_BYTES = 256 * 1024


class LogFollower:
    """One reading of a log, from its oldest line on."""

    def __init__(self, directory: InstanceDirectory) -> None:
        self._directory = directory
        self._rest = b""
        self._waiting: deque[int] = deque()
        self._fd = -1
        self._open_both()

    def close(self) -> None:
        """Let go of the files."""
        for fd in (self._fd, *self._waiting):
            if fd >= 0:
                os.close(fd)
        self._fd = -1
        self._waiting.clear()

    def present(self) -> Iterator[str]:
        """Yield every line that is there now."""
        while piece := self._read():
            yield from self._lines(piece)

    def coming(self) -> Iterator[str]:
        """Yield every line after those, as it comes, until the instance is removed."""
        while True:
            # In this order: what was written before it was removed is still read.
            is_there = self._directory.exists()
            yield from self.present()
            if not is_there:
                return
            time.sleep(_LOOK_SECONDS)

    def _open_both(self) -> None:
        while True:
            new, old = _open(self._directory.log), _open(self._directory.old_log)
            if old < 0 or new < 0 or not os.path.sameopenfile(old, new):
                break
            # It was rotated between the two: look again.
            os.close(old)
            os.close(new)
        self._waiting.extend(fd for fd in (old, new) if fd >= 0)
        if self._waiting:
            self._fd = self._waiting.popleft()

    def _read(self) -> bytes:
        """Return the next bytes of the log; b"" if there are none yet."""
        while True:
            if self._fd < 0:
                self._open_both()
                if self._fd < 0:
                    return b""
            if not self._waiting:
                self._find_next()
            # Read after looking for a next file: one that has a next is written to no more.
            if piece := os.read(self._fd, _PIECE_BYTES):
                return piece
            if not self._waiting:
                return b""
            os.close(self._fd)
            self._fd = self._waiting.popleft()

    def _find_next(self) -> None:
        """When the file being read is no longer the newest, the one or two that came after it."""
        new, old = _open(self._directory.log), _open(self._directory.old_log)
        if new < 0 or os.path.sameopenfile(self._fd, new):
            later = []
        elif old < 0 or os.path.sameopenfile(self._fd, old):
            later = [new]
        elif os.path.sameopenfile(old, new):  # rotated this moment; the next look sees it
            later = []
        else:
            later = [old, new]
        self._waiting.extend(later)
        for fd in {old, new} - {-1, *later}:
            os.close(fd)

    def _lines(self, piece: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")


def _open(path: Path) -> int:
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return -1
