"""Archives in a directory of the control plane's, or on a file system mounted there.

An object is written beside its place, synced, and renamed: under its key lies the whole of it or nothing.
A directory that was mounted and is not any more looks like an empty one, so the repository has a mark
(bin/up makes it): without it nothing is taken, and nothing is said to be missing.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tenants.repositories import addresses
from tenants.repositories.protocol import OWN, Found, RepositoryError

MARK = ".stoa-repository"
_PIECE = 1 << 18


class DirectoryRepository:
    """Implements Repository in a directory; hosts come to it by the depot."""

    def __init__(self, where: str) -> None:
        self._top = Path(where)

    def put_address(self, key: str) -> str:
        """See Repository."""
        return addresses.signed("PUT", key)

    def get_address(self, key: str) -> str:
        """See Repository."""
        return addresses.signed("GET", key)

    def read_back(self, key: str) -> Found | None:
        """See Repository."""
        found, size = hashlib.sha256(), 0
        try:
            with self._path(key).open("rb") as file:
                while piece := file.read(_PIECE):
                    found.update(piece)
                    size += len(piece)
        except FileNotFoundError:
            self.check_place()
            return None
        except OSError as error:
            raise RepositoryError(f"{self._top} cannot be read: {error}") from error
        return Found(size, found.hexdigest())

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
            raise RepositoryError(f"{self._top} cannot be written: {error}") from error

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
                f"{self._top} has no {MARK}: mount what holds the repository, or make the mark there"
                " when this is a new one"
            )

    # What the depot does for hosts ---------------------------------------------------------------

    def receive(self, key: str, read: Callable[[int], bytes], *, size: int) -> bool:
        """Keep exactly `size` bytes under a key; False, keeping nothing, when fewer came."""
        path = self._path(key)
        self.check_place()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with new.open("xb") as file:
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
            raise RepositoryError(f"{self._top} cannot be written: {error}") from error
        return True

    def opened(self, key: str) -> BinaryIO | None:
        """The object, to be sent; None when there is none."""
        try:
            return self._path(key).open("rb")
        except FileNotFoundError:
            return None

    def _path(self, key: str) -> Path:
        if not addresses.is_key(key):
            raise RepositoryError(f"{key[:80]!r} is no key of a snapshot")
        return self._top / key


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
