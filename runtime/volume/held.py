"""Directories of work in progress, distinguished from those that a killed agent left behind.

The process that works in one holds a lock on it, which ends with the process. The agent and the command line
may both be at work on a host; either may tidy up.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.disk.descriptors import opened

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def held(
    parent: Path, name: str, *, make: Callable[[Path], None], remove: Callable[[Path], None]
) -> Iterator[Path]:
    """Make parent/name and hold it for as long as the block lasts; then remove it."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = parent / name
    with _alone(parent):
        make(path)
        hold = os.open(path, _DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(hold, fcntl.LOCK_SH)
    try:
        yield path
    finally:
        with _alone(parent):
            os.close(hold)
            remove(path)


def sweep(parent: Path, remove: Callable[[Path], None]) -> None:
    """Remove what nobody holds; no-op if there is nothing."""
    if not parent.is_dir():
        return
    with _alone(parent):
        for path in parent.iterdir():
            with opened(path, _DIRECTORY) as fd:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
            remove(path)


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    with opened(parent, _DIRECTORY) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
