"""Small files of a host's own state: written whole or not at all, whatever lies in their place.

A directory where a file should be, or a file where a directory should be, is damage like any other:
the writer has the right content, so it removes what is in the way.
"""

import errno
import os
from pathlib import Path

from runtime.system.trees import remove_tree, sync_directory

# What opening says of a directory, a link, a socket.
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})


def write_atomically(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a file so that a reader sees the old or the new, whole.

    is_durable: also after the machine lost power.
    """
    beside = path.with_name(f".{path.name}.new")
    fd = _opened(beside)
    try:
        left = memoryview(text.encode())
        while left:  # a disk that fills up takes a part without a word
            left = left[os.write(fd, left) :]
        if is_durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    take_place(beside, path)
    if is_durable:
        sync_directory(path.parent)


def take_place(beside: Path, path: Path) -> None:
    """Rename a new file or link to its name; a directory that lies there is removed first."""
    try:
        beside.replace(path)
    except (IsADirectoryError, NotADirectoryError):
        remove_anything(path)
        beside.replace(path)


def make_directory(path: Path) -> None:
    """Have a directory of our own; anything else of that name is removed."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        remove_anything(path)
        path.mkdir(mode=0o700)


def remove_anything(path: Path) -> None:
    """Remove a file, a link or a directory with all it holds; no-op if there is nothing."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        remove_tree(path)
    except NotADirectoryError:
        return  # what should be its directory is a file: so it is not there


def open_lock(path: Path) -> int:
    """Return a descriptor of a file that is only locked, made where there is none. What is no file makes
    way.
    """
    return _opened(path, os.O_RDWR)


def _opened(path: Path, access: int = os.O_WRONLY | os.O_TRUNC) -> int:
    flags = access | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        # Nobody's lock is taken away for want of descriptors.
        if error.errno not in _NO_FILE:
            raise
        remove_anything(path)
    return os.open(path, flags, 0o600)
