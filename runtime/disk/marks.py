"""Whose a volume is, noted on its directory itself, where no tenant can read or write it.

A directory without its mark is not the volume, whatever made it: a mount that is missing, a copy that is
half done, somebody's mkdir. Attributes of the kind trusted.* belong to the machine's root alone, follow the
directory when it is renamed or copied whole, and go with it when it goes.

Beside whose it is stands whether anything was in it when that was last known. A tenant may empty its own
volume while it runs, and it starts with that; a volume that lost all it held while nobody ran is missing.
The same holds for each place that an image's directory has in it (seeds.py): their names are noted, too.
"""

import errno
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from runtime.disk.seeds import FOLDER
from runtime.errors import DataMissingError, HostUnfitError

_OWNER = "trusted.stoa.volume"
_CONTENT = "trusted.stoa.content"
_PLACES = "trusted.stoa.places"
_PLACES_BYTES = 2000  # ext4 has 4 KiB for all attributes of a directory
_SOME, _NONE = b"some", b"none"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNMARKABLE = frozenset({errno.EOPNOTSUPP, errno.EPERM})


def write(path: Path, name: str) -> None:
    """Say that the directory is this volume, as it is now. HostUnfitError where a file system cannot keep
    that.
    """
    fd = os.open(path, _DIRECTORY)
    try:
        os.setxattr(fd, _OWNER, name.encode())
        _note(fd)
        if _read(fd, _PLACES):
            os.removexattr(fd, _PLACES)
    except OSError as error:
        if error.errno not in _UNMARKABLE:
            raise
        raise HostUnfitError(
            f"the file system of {path} keeps no trusted.* attributes, which say whose a volume is: put"
            " the host's state on ext4, XFS or btrfs"
        ) from error
    finally:
        os.close(fd)


def is_marked(path: Path) -> bool:
    """Return whether it is a directory with somebody's mark."""
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError:
        return False
    try:
        return bool(_read(fd, _OWNER))
    finally:
        os.close(fd)


def write_older(path: Path, name: str) -> None:
    """Take a directory from before there were marks for the volume; no-op if it is empty: it may be
    no more than the place of one.
    """
    with os.scandir(path) as entries:
        holds_something = next(entries, None) is not None
    if holds_something:
        write(path, name)


def check(path: Path, name: str) -> None:
    """DataMissingError unless the directory is this volume and still holds what it should."""
    try:
        fd = os.open(path, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataMissingError(f"volume {name}: {path} is not there") from error
    except OSError as error:
        raise DataMissingError(f"volume {name}: {path} cannot be opened: {error}") from error
    try:
        owner = _read(fd, _OWNER).decode(errors="replace")
        if not owner:
            raise DataMissingError(
                f"volume {name}: the directory {path} is not the one that was made or loaded for it;"
                f" `python -m runtime know-volume {name}` takes it for the volume, once you have looked"
            )
        if owner != name:
            raise DataMissingError(f"volume {name}: what lies in {path} is volume {owner}")
        if _read(fd, _CONTENT) == _SOME and _is_empty(fd):
            raise DataMissingError(
                f"volume {name}: {path} is empty and was not when its shop last ran;"
                f" `python -m runtime know-volume {name}` lets it start like that"
            )
        if gone := [place for place in _noted_places(fd) if _is_gone(fd, place)]:
            raise DataMissingError(
                f"volume {name}: {path / FOLDER / gone[0]} is gone and was there when its shop last ran;"
                f" `python -m runtime know-volume {name}` lets it begin there with what the image has"
            )
    finally:
        os.close(fd)


def note_content(path: Path, name: str) -> None:
    """Note whether the volume holds anything; no-op if it is not the volume, or not there."""
    with suppress(OSError):
        fd = os.open(path, _DIRECTORY)
        try:
            if _read(fd, _OWNER) == name.encode():
                _note(fd)
        finally:
            os.close(fd)


def note_places(path: Path, name: str, places: Collection[str]) -> None:
    """Note which of the places are there; no-op if it is not the volume, or not there.

    Of names that are too long for the attribute the last ones are left out.
    """
    with suppress(OSError):
        fd = os.open(path, _DIRECTORY)
        try:
            if _read(fd, _OWNER) != name.encode():
                return
            found = b""
            for there in sorted(place for place in places if not _is_gone(fd, place)):
                if len(found) + len(there) < _PLACES_BYTES:
                    found += there.encode() + b"\n"
            if _read(fd, _PLACES) != found:
                os.setxattr(fd, _PLACES, found)
        finally:
            os.close(fd)


def _noted_places(fd: int) -> list[str]:
    return _read(fd, _PLACES).decode(errors="replace").splitlines()


def _is_gone(volume: int, place: str) -> bool:
    """Return whether nothing is there. What stands there and is no directory a tenant has put there."""
    try:
        folder = os.open(FOLDER, _DIRECTORY, dir_fd=volume)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        os.stat(place, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    finally:
        os.close(folder)
    return False


def _note(fd: int) -> None:
    found = _NONE if _is_empty(fd) else _SOME
    # Only a change is written: it moves the directory's ctime, and a copy then looks at it again.
    if _read(fd, _CONTENT) != found:
        os.setxattr(fd, _CONTENT, found)


def _read(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno in {errno.ENODATA, *_UNMARKABLE}:
            return b""
        raise


def _is_empty(fd: int) -> bool:
    with os.scandir(fd) as entries:
        return next(entries, None) is None
