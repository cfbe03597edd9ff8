"""Archives in a directory of the control plane's, or on a file system mounted there.

An object is written beside its place, synced, and renamed: under its key lies the whole of it or nothing.
A directory that was mounted and is not any more looks like an empty one, so the repository has a mark
(bin/up makes it): without it nothing is taken, and nothing is said to be missing.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tenants.snapshots.repositories import addresses
from tenants.snapshots.repositories.protocol import MOST_BYTES, OWN, RepositoryError, StoredObject

MARK = ".stoa-repository"
MOST_KEPT_FREE = 2 << 30  # bytes; or a twentieth of the file system, where that is less
_PIECE = 1 << 18
_PART = ".part"
_LEFT_BEHIND_SECONDS = 3600


class DirectoryRepository:
    """Implements Repository in a directory; hosts come to it by the depot."""

    def __init__(self, where: str) -> None:
        self._top = Path(where)

    def put_address(self, key: str, *, most: int = MOST_BYTES) -> str:
        """See Repository."""
        return addresses.signed("PUT", key, most=most)

    def get_address(self, key: str) -> str:
        """See Repository."""
        return addresses.signed("GET", key)

    def read_back(self, key: str, *, most: int = MOST_BYTES) -> StoredObject | None:
        """See Repository."""
        found, size = hashlib.sha256(), 0
        try:
            with self._path(key).open("rb") as file:
                is_this_large = os.fstat(file.fileno()).st_size
                if is_this_large > most:
                    return StoredObject(is_this_large, "")
                while piece := file.read(_PIECE):
                    found.update(piece)
                    size += len(piece)
        except FileNotFoundError:
            self.check_place()
            return None
        except OSError as error:
            raise self._away(error, "read") from error
        return StoredObject(size, found.hexdigest())

    def remove(self, keys: Collection[str]) -> None:
        """See Repository."""
        self.check_place()
        try:
            for key in keys:
                path = self._path(key)
                path.unlink(missing_ok=True)
                with suppress(OSError):  # others of the tenant are there still
                    path.parent.rmdir()
        except OSError as error:
            raise self._away(error, "written") from error

    def keep_file(self, name: str, path: Path) -> None:
        """See Repository."""
        self.check_place()
        try:
            folder = self._top / OWN
            folder.mkdir(mode=0o700, exist_ok=True)
            new = folder / f".{name}.{secrets.token_hex(4)}"
            try:
                new.touch(mode=0o600)
                shutil.copyfile(path, new)
                with new.open("rb") as file:
                    os.fsync(file.fileno())
                new.replace(folder / name)
                _sync(folder)
            finally:
                new.unlink(missing_ok=True)
        except OSError as error:
            raise RepositoryError(f"{self._top} cannot be written: {error}") from error

    def check_place(self) -> None:
        """RepositoryError when this is not the repository, whatever else it is."""
        if not (self._top / MARK).exists():
            raise RepositoryError(
                f"the repository is not mounted: {self._top} has no {MARK}; mount what holds the"
                " repository, or make the mark there when this is a new one"
            )

    # What the depot does for hosts ---------------------------------------------------------------

    def receive(self, key: str, read: Callable[[int], bytes], *, size: int) -> bool:
        """Keep exactly `size` bytes under a key; False, keeping nothing, when fewer came.

        RepositoryError when another PUT of the key runs, or when it would leave less than is kept free.
        """
        path = self._path(key)
        self.check_place()
        self._check_room(size)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}{_PART}")
            with _alone(new) as file:
                try:
                    came = _copied(read, file, size)
                    file.flush()
                    os.fsync(file.fileno())
                    if came != size:
                        return False
                    new.replace(path)
                    _sync(path.parent)
                finally:
                    new.unlink(missing_ok=True)
        except OSError as error:
            raise self._away(error, "written") from error
        return True

    def sweep(self) -> int:
        """Delete what broken transfers left behind; how many files."""
        gone = 0
        with suppress(OSError):
            for file in self._top.glob(f"*/.*{_PART}"):
                with suppress(OSError, RepositoryError):
                    if time.time() - file.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                        with _alone(file):
                            file.unlink()
                        gone += 1
        return gone

    def _check_room(self, size: int) -> None:
        room = shutil.disk_usage(self._top)
        kept_free = min(room.total // 20, MOST_KEPT_FREE)
        if room.free - size < kept_free:
            raise RepositoryError(
                f"{self._top} has {room.free >> 20} MiB free, of which {kept_free >> 20} MiB stay so:"
                f" no room for {-(-size >> 20)} MiB; give it more room"
            )

    def opened(self, key: str) -> BinaryIO | None:
        """Return the object, to be sent; None when there is none."""
        try:
            return self._path(key).open("rb")
        except FileNotFoundError:
            self.check_place()
            return None
        except OSError as error:
            raise self._away(error, "read") from error

    def _away(self, error: OSError, what: str) -> RepositoryError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return RepositoryError(f"the repository is full: {self._top} takes nothing more")
        return RepositoryError(f"the repository is away: {self._top} cannot be {what}: {error}")

    def _path(self, key: str) -> Path:
        if not addresses.is_key(key):
            raise RepositoryError(f"{key[:80]!r} is no key of a snapshot")
        return self._top / key


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """Open an empty file that no other process writes; the lock ends with its process, however that ends."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have made it the object itself.
            is_it = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_it = False
        if not is_it:
            raise RepositoryError(f"{path.name} is being written by another process; try again")
        file.truncate(0)
        yield file


def _copied(read: Callable[[int], bytes], file: BinaryIO, size: int) -> int:
    left = size
    while left and (piece := read(min(_PIECE, left))):
        file.write(piece)
        left -= len(piece)
    return size - left


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
