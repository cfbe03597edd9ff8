"""Making a state of a volume: entries one after another, below a directory nobody else writes to yet.

The archive may come from a host that was broken into. Each path is resolved below the top without
following a link, only what Kind names is ever made, and ids stay those a container can have.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from runtime.system import syscalls
from runtime.system.trees import remove_tree
from runtime.volume.archive import ArchiveReader, checked_path, damaged, entry_of
from runtime.volume.entries import Entry, EntryKind
from runtime.volume.walk import FILES_LIMIT

_PARENT = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Builder:
    """Fills one tree. Use as a context manager: times of directories are set last."""

    def __init__(self, top: Path) -> None:
        self._path = top
        self._top = os.open(top, _PARENT)
        self._parent = ("", os.dup(self._top))
        self._open_directories: list[Entry] = []

    def __enter__(self) -> "Builder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        try:
            if kind is None:
                self._close_directories("\0")
        finally:
            os.close(self._parent[1])
            os.close(self._top)

    def make(
        self, entry: Entry, pieces: Iterable[tuple[int, bytes]] = (), *, is_patch: bool = False
    ) -> None:
        """Make the entry, in the place of whatever is there; is_patch: change the file that is there."""
        self._close_directories(entry.path)
        if not entry.path:
            self._own(self._top, entry)
            self._open_directories.append(entry)
            return
        parent, name = self._place(entry.path)
        self._note_times(entry.path.rpartition("/")[0], parent)
        match entry.kind:
            case EntryKind.DIRECTORY:
                self._directory(parent, name, entry)
            case EntryKind.FILE:
                self._file(parent, name, entry, pieces, is_patch=is_patch)
            case EntryKind.SAME:
                self._same(parent, name, entry)
            case EntryKind.LINK:
                self._clear(parent, name)
                os.symlink(entry.target, name, dir_fd=parent)
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
                times = (entry.mtime_ns, entry.mtime_ns)
                os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
            case EntryKind.FIFO:
                self._clear(parent, name)
                os.mkfifo(name, mode=0o600, dir_fd=parent)
                self._own_named(parent, name, entry)

    def remove(self, path: str) -> None:
        """Remove an entry with all below it; no-op if it is gone already."""
        self._close_directories(path)
        try:
            parent, name = self._place(path)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return
            raise
        self._note_times(path.rpartition("/")[0], parent)
        self._clear(parent, name)

    # Kinds -------------------------------------------------------------------------------------

    def _directory(self, parent: int, name: str, entry: Entry) -> None:
        if not _is_directory(parent, name):
            self._clear(parent, name)
            os.mkdir(name, mode=0o700, dir_fd=parent)
        fd = syscalls.open_beneath(parent, name, _PARENT)
        try:
            self._own(fd, entry)
        finally:
            os.close(fd)
        self._open_directories.append(entry)

    def _file(
        self,
        parent: int,
        name: str,
        entry: Entry,
        pieces: Iterable[tuple[int, bytes]],
        *,
        is_patch: bool,
    ) -> None:
        if is_patch:
            fd = syscalls.open_beneath(parent, name, _OLD)
        else:
            self._clear(parent, name)
            fd = os.open(name, _NEW, mode=0o600, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise damaged(f"{entry.path!r} is to be changed and is no file")
            # First to its size: what grows is full of zeros, as the pieces left out stand for.
            os.ftruncate(fd, entry.size)
            for offset, piece in pieces:
                os.pwrite(fd, piece, offset)
            self._own(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _same(self, parent: int, name: str, entry: Entry) -> None:
        if entry.target == entry.path:
            raise damaged(f"{entry.path!r} is another name of itself")
        self._clear(parent, name)
        source, base = self._open_parent(entry.target)
        try:
            if not stat.S_ISREG(os.stat(base, dir_fd=source, follow_symlinks=False).st_mode):
                raise damaged(f"{entry.path!r} is another name of what is no file")
            os.link(base, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    # Small parts -------------------------------------------------------------------------------

    def _place(self, path: str) -> tuple[int, str]:
        """Return the directory that an entry lies in, and its name there."""
        above, _, name = path.rpartition("/")
        if self._parent[0] != above:
            fd = syscalls.open_beneath(self._top, above or ".", _PARENT)
            os.close(self._parent[1])
            self._parent = (above, fd)
        return self._parent[1], name

    def _open_parent(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return syscalls.open_beneath(self._top, above or ".", _PARENT), name

    def _clear(self, parent: int, name: str) -> None:
        if _is_directory(parent, name):
            # The top is ours alone: nobody exchanges what is below the descriptor.
            remove_tree(Path(f"/proc/self/fd/{parent}") / name)
            return
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return

    def _own(self, fd: int, entry: Entry) -> None:
        """Ownership first (it clears set-id bits), then mode and attributes."""
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        wanted = dict(entry.xattrs)
        for name in os.listxattr(fd):
            if name.startswith("user.") and name not in wanted:
                os.removexattr(fd, name)
        for name, value in wanted.items():
            os.setxattr(fd, name, bytes.fromhex(value))

    def _own_named(self, parent: int, name: str, entry: Entry) -> None:
        fd = syscalls.open_beneath(parent, name, _LOOK)
        try:
            place = f"/proc/self/fd/{fd}"
            os.chown(place, entry.uid, entry.gid)
            os.chmod(place, entry.mode)  # noqa: PTH101 - of a descriptor
            os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _note_times(self, path: str, fd: int) -> None:
        """A directory that the archive says nothing of keeps its times, whatever is changed in it."""
        if self._open_directories and self._open_directories[-1].path == path:
            return
        found = os.fstat(fd)
        mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        self._open_directories.append(
            Entry(path, EntryKind.DIRECTORY, mode, *owner, 0, found.st_mtime_ns)
        )

    def _close_directories(self, path: str) -> None:
        """Set the times of the directories that the walk has left."""
        while self._open_directories:
            last = self._open_directories[-1]
            if path != "\0" and (not last.path or path.startswith(f"{last.path}/")):
                return
            self._open_directories.pop()
            try:
                fd = syscalls.open_beneath(self._top, last.path or ".", _PARENT)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    continue  # the same archive removed it again
                raise
            try:
                os.utime(fd, ns=(last.mtime_ns, last.mtime_ns))
            finally:
                os.close(fd)


def apply(stream: BinaryIO, top: Path, *, snapshot: str, base: str, most_bytes: int) -> str:
    """Apply an archive to a tree and return the sha the whole tree must have now.

    snapshot, base: what the archive must say it is. HostError when it is damaged or is something else.
    """
    reader = ArchiveReader(stream, most_bytes=most_bytes)
    lines = reader.lines()
    head = next(lines)
    if (head.get("stoa-volume"), head.get("snapshot"), head.get("base")) != (1, snapshot, base):
        raise damaged(f"it is not {snapshot} after {base or 'nothing'}")
    count = 0
    with Builder(top) as builder:
        for line in lines:
            count += 1
            if count > FILES_LIMIT:
                raise damaged(f"it has more than {FILES_LIMIT} entries")
            if line.get("end") is True:
                return str(line.get("tree"))
            if "gone" in line:
                builder.remove(checked_path(line["gone"]))
                continue
            entry = entry_of(line)
            pieces = reader.pieces(entry.size) if entry.kind is EntryKind.FILE else ()
            builder.make(entry, pieces, is_patch=line.get("patch") is True)
    raise damaged("it has no end")


def _is_directory(parent: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode)
