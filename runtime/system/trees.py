"""Walking and removing directories that a tenant has filled, whatever is in them.

A tenant may nest directories deeper than a path is long and deeper than Python recurses, and may put
links to the host's files anywhere, also while we look. Nothing here follows a link, leaves the tree,
or needs more than a handful of descriptors.
"""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from runtime.system import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A path the kernel takes in one piece (4,095 bytes) even if every character is four bytes long; what
# lies deeper is reached from a directory on the way.
_PATH_CHARACTERS = 900
# So many pieces of path deep is measured; nobody counts what lies below.
_PIECES = 100


def disk_bytes(root: Path) -> int:
    """Blocks occupied below a directory, in bytes, without following links; 0 when there is none."""
    try:
        top = os.open(root, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    try:
        return _occupied(top, _PIECES)
    finally:
        os.close(top)


def sync_directory(path: Path) -> None:
    """Return once the names in a directory are on the disk: a renamed file is lost without it."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(root: Path) -> None:
    """Remove a directory with all it holds; no-op if there is none.

    Nobody may be writing into it any more.
    """
    try:
        top = os.open(root, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        while _remove_some(top):
            pass
    finally:
        os.close(top)
    root.rmdir()


def _occupied(top: int, pieces: int) -> int:
    total = 0
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        try:
            fd = syscalls.open_beneath(top, path, _DIRECTORY)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}:
                continue  # gone, or something else by now
            raise
        try:
            if len(path) > _PATH_CHARACTERS:
                total += _occupied(fd, pieces - 1) if pieces else 0
            else:
                occupied, names = _listed(fd)
                total += occupied
                waiting += [f"{path}/{name}" for name in names]
        finally:
            os.close(fd)
    return total


def _listed(fd: int) -> tuple[int, list[str]]:
    """Return the bytes of one directory's entries, and which of them are directories."""
    total = 0
    names = []
    with os.scandir(fd) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
    return total, names


def _remove_some(top: int) -> bool:
    """Remove what a directory holds, and hoist what is nested in it to the top; False: it was empty."""
    found = False
    with os.scandir(top) as entries:
        for entry in entries:
            found = True
            if not _removed(top, entry.name):
                _hoist(top, entry.name)
    return found


def _hoist(top: int, name: str) -> None:
    """Remove a directory of the top after moving the full directories in it up: no depth is too deep."""
    fd = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if not _removed(fd, entry.name):
                    fresh = f".{secrets.token_hex(8)}"
                    os.rename(entry.name, fresh, src_dir_fd=fd, dst_dir_fd=top)
    finally:
        os.close(fd)
    _removed(top, name)  # an entry the scan skipped keeps it for the next round


def _removed(parent: int, name: str) -> bool:
    """Remove a file or an empty directory; False for a directory that is not empty."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            return False
    return True
