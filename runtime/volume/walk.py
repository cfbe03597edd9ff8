"""Reads a directory that a tenant has filled, whatever is in it, also while it is written to.

Nothing here follows a link or leaves the tree (openat2). What no archive takes is left out and counted:
sockets and devices, and what lies deeper than a path can say.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from runtime.errors import InputError
from runtime.system import syscalls
from runtime.volume.entries import Entry, EntryKind

BLOCK_BYTES = 64 * 1024
_ZEROS = bytes(BLOCK_BYTES)
FILES_LIMIT = 1_000_000
PATH_BYTES = 4000
_XATTR_BYTES = 16 * 1024
_XATTRS = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ESTALE})
_KINDS = {
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFLNK: EntryKind.LINK,
}
_KINDS[stat.S_IFIFO] = EntryKind.FIFO


class Walk:
    """One pass over a tree, in order. skipped: how much was left out."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._first_names: dict[int, str] = {}
        self._found = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield every entry, the top itself first; what vanishes while we look is not there."""
        root = self._look("")
        if root is None:
            return
        yield root
        levels = [("", self._names(""))]
        while levels:
            prefix, names = levels[-1]
            name = next(names, None)
            if name is None:
                levels.pop()
                continue
            path = prefix + name
            if (entry := self._look(path)) is None:
                continue
            yield entry
            if entry.kind is EntryKind.DIRECTORY:
                levels.append((f"{path}/", self._names(path)))

    def _names(self, path: str) -> Iterator[str]:
        try:
            fd = syscalls.open_beneath(self._top, path or ".", _DIRECTORY)
        except OSError as error:
            if error.errno in _GONE:
                return iter(())
            raise
        try:
            names = os.listdir(fd)  # noqa: PTH208 - of a descriptor
        finally:
            os.close(fd)
        self._found += len(names)
        if self._found > FILES_LIMIT:
            raise InputError(f"the volume holds more than {FILES_LIMIT} files; no archive takes it")
        return iter(sorted(names))

    def _look(self, path: str) -> Entry | None:
        if len(os.fsencode(path)) > PATH_BYTES:
            self.skipped += 1
            return None
        try:
            fd = syscalls.open_beneath(self._top, path or ".", _LOOK)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        try:
            return self._entry(path, fd, os.fstat(fd))
        finally:
            os.close(fd)

    def _entry(self, path: str, fd: int, found: os.stat_result) -> Entry | None:
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            self.skipped += 1
            return None
        target = ""
        if kind is EntryKind.LINK:
            target = os.readlink("", dir_fd=fd)
        elif kind is not EntryKind.DIRECTORY and found.st_nlink > 1:
            first = self._first_names.setdefault(found.st_ino, path)
            if first != path:
                kind, target = EntryKind.SAME, first
        return Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            size=found.st_size if kind is EntryKind.FILE else 0,
            mtime_ns=found.st_mtime_ns,
            ctime_ns=found.st_ctime_ns,
            inode=found.st_ino,
            target=target,
            xattrs=_xattrs(fd) if kind in {EntryKind.FILE, EntryKind.DIRECTORY} else (),
        )


@contextmanager
def opened_file(top: int, path: str) -> Iterator[int | None]:
    """A regular file of the tree, opened for reading; None when there is none (any more)."""
    try:
        fd = syscalls.open_beneath(top, path, _READ)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        yield None
        return
    try:
        yield fd if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


@contextmanager
def opened_tree(path: Path) -> Iterator[int]:
    """The top of a tree."""
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def blocks_of(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the pieces of a file that are not all zeros, by number; holes are not even read."""
    place = 0
    while place < size:
        try:
            place = os.lseek(fd, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole to the end
            raise
        number = place // BLOCK_BYTES
        start = number * BLOCK_BYTES
        piece = os.pread(fd, min(BLOCK_BYTES, size - start), start)
        if piece != (_ZEROS if len(piece) == BLOCK_BYTES else bytes(len(piece))):
            yield number, piece
        place = start + BLOCK_BYTES


def digest(piece: bytes) -> str:
    """Return the digest of one piece of a file."""
    return blake2b(piece, digest_size=16).hexdigest()


def content_of(fd: int, size: int) -> dict[int, str]:
    """Return the digest of every piece of a file."""
    return {number: digest(piece) for number, piece in blocks_of(fd, size)}


def _xattrs(fd: int) -> tuple[tuple[str, str], ...]:
    """Attributes of the user's own kind; others would give power, and are no data."""
    place = f"/proc/self/fd/{fd}"
    try:
        names = [name for name in os.listxattr(place) if name.startswith("user.")]
        found = [(name, os.getxattr(place, name).hex()) for name in sorted(names)[:_XATTRS]]
    except OSError as error:
        if error.errno in {errno.ENOTSUP, errno.ENODATA, errno.ENOENT}:
            return ()
        raise
    kept, room = [], 2 * _XATTR_BYTES
    for name, value in found:
        room -= len(name) + len(value)
        if room >= 0:
            kept.append((name, value))
    return tuple(kept)
