"""Applying one layer of an image to a directory tree.

Runs inside a chroot of that tree (see unpack.py): whatever names and links a hostile layer holds, the
kernel resolves them below the tree. What remains to be decided here is what a tenant's image may
contain at all: no devices, no ids a container does not have, no attributes that give power.
"""

# os functions say whether they follow links; pathlib's mostly cannot.
# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH118, PTH120, PTH123, PTH208, PTH211

import hashlib
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from runtime.errors import SpecInvalidError
from runtime.image.config import HIGHEST_ID
from runtime.system.trees import remove_tree

BYTES_LIMIT = 8 * 1024**3
MEMBERS_LIMIT = 1_000_000
DEPTH_LIMIT = 256  # Python recurses for each
_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."
_AUFS = ".wh..wh."
_XATTR = "SCHILY.xattr."
_PIECE = 1 << 18


class Readable(Protocol):
    """What tarfile needs of a stream."""

    def read(self, size: int, /) -> bytes:
        """At most size bytes, b"" at the end."""
        ...


class Budget:
    """What one image, all of its layers together, may still write.

    A few bytes of a blob may stand for gigabytes: packed zeros, or a file that says it is mostly holes.
    """

    def __init__(self, *, most_bytes: int = BYTES_LIMIT, most_members: int = MEMBERS_LIMIT):
        self._most = (most_bytes, most_members)
        self._left = [most_bytes, most_members]

    def spend_bytes(self, count: int) -> None:
        """Raises SpecInvalidError when it was too much."""
        self._left[0] -= count
        if self._left[0] < 0:
            raise refusal(f"it unpacks to more than {self._most[0]} bytes")

    def spend_member(self) -> None:
        """Raises SpecInvalidError when it was one too many."""
        self._left[1] -= 1
        if self._left[1] < 0:
            raise refusal(f"it has more than {self._most[1]} files")


class Unpacked:
    """The tar inside a layer's blob, hashed while it is read, bounded in size.

    blob: of compression "gzip" or ""; what other programs unpack comes as "".
    """

    def __init__(self, blob: BinaryIO, compression: str, budget: Budget) -> None:
        self._pieces = _gunzip(blob) if compression == "gzip" else _plain(blob)
        self._rest = b""
        self._hash = hashlib.sha256()
        self._budget = budget

    def read(self, size: int, /) -> bytes:
        """At most size bytes, b"" at the end."""
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._hash.update(piece)
            self._budget.spend_bytes(len(piece))
            self._rest += piece
        given, self._rest = self._rest[:size], self._rest[size:]
        return given

    def digest(self) -> str:
        """Digest of the whole tar, read to its end."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def apply(stream: Readable, budget: Budget) -> None:
    """Apply the tar of a layer to the tree at `/`. Raises SpecInvalidError for what it refuses."""
    try:
        _apply_members(stream, budget)
    except tarfile.TarError as error:
        raise refusal(f"a layer is not a whole tar: {error}") from error


def refusal(message: str) -> SpecInvalidError:
    """Return the error for an image that is not taken."""
    return SpecInvalidError(f"image: {message}", field="image")


def _apply_members(stream: Readable, budget: Budget) -> None:
    written: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:  # type: ignore[call-overload]
        for member in tar:
            tar.members = []  # it would keep all of them in memory
            budget.spend_member()
            if member.issparse():
                budget.spend_bytes(member.size)  # its holes are in no stream
            path = _path_of(member.name)
            if path == "/":
                _own(path, member)
            else:
                _apply_member(tar, member, path, written)


def _apply_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, written: set[str]
) -> None:
    parent, base = os.path.split(path)
    if base == _OPAQUE:
        _empty(parent, written)
    elif base.startswith(_AUFS):
        return  # bookkeeping of a storage driver long gone
    elif base.startswith(_WHITEOUT):
        if base[len(_WHITEOUT) :] in {"", ".", ".."}:
            raise refusal(f"member {member.name!r} removes more than a name")
        _remove(os.path.join(parent, base[len(_WHITEOUT) :]), written)
    else:
        os.makedirs(parent, mode=0o755, exist_ok=True)
        if _write(tar, member, path):
            while path not in written and path != "/":
                written.add(path)
                path = os.path.dirname(path)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bool:
    """Make what a member says; False for what containers do not need from an image (devices)."""
    if member.isdir():
        if not _is_directory(path):
            _clear(path)
            os.mkdir(path)
        _own(path, member)
    elif member.isreg():
        _clear(path)
        _write_file(tar, member, path)
    elif member.islnk():
        target = _path_of(member.linkname)
        if target != path:
            _clear(path)
            os.link(target, path, follow_symlinks=False)
    elif member.issym():
        _clear(path)
        os.symlink(member.linkname, path)
        os.lchown(path, *_ids(member))
    elif member.isfifo():
        _clear(path)
        os.mkfifo(path)
        _own(path, member)
    else:
        return False
    return True


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise refusal(f"member {member.name!r} has no content")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as copy:
        shutil.copyfileobj(source, copy, _PIECE)
    _own(path, member)


def _own(path: str, member: tarfile.TarInfo) -> None:
    """Ownership first (it clears set-id bits), then mode, harmless attributes and time."""
    os.chown(path, *_ids(member), follow_symlinks=False)
    os.chmod(path, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        # security.capability would give power; trusted.overlay.* would steer the overlay above us.
        if key.startswith(_XATTR) and name.startswith("user."):
            os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    # Python trusts compiled code by its source's time: that must survive.
    os.utime(path, (int(member.mtime), int(member.mtime)), follow_symlinks=False)


def _ids(member: tarfile.TarInfo) -> tuple[int, int]:
    for number in (member.uid, member.gid):
        if not 0 <= number <= HIGHEST_ID:
            raise refusal(
                f"{member.name!r} belongs to id {number}; containers have ids 0 to {HIGHEST_ID}"
            )
    return member.uid, member.gid


def _path_of(name: str) -> str:
    """Return a member's place below the root, refused when it tries to climb."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in name:
        raise refusal(f"member {name[:200]!r} leads out of the image")
    if len(parts) > DEPTH_LIMIT:
        raise refusal(f"member {name[:200]!r}… lies deeper than {DEPTH_LIMIT} directories")
    return "/" + "/".join(parts)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _clear(path: str) -> None:
    """Make way for a new file of this name."""
    if _is_directory(path):
        remove_tree(Path(path))
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _empty(directory: str, written: set[str]) -> None:
    """An opaque directory shows nothing of the layers below it."""
    if not _is_directory(directory):
        return
    for name in os.listdir(directory):
        _remove(os.path.join(directory, name), written)


def _remove(path: str, written: set[str]) -> None:
    """Hide what lower layers put at a path; what this layer wrote itself stays."""
    if path not in written:
        _clear(path)
    elif _is_directory(path):
        _empty(path, written)


def _plain(blob: BinaryIO) -> Iterator[bytes]:
    while piece := blob.read(_PIECE):
        yield piece


def _gunzip(blob: BinaryIO) -> Iterator[bytes]:
    """Unpack gzip, several members in a row included, in bounded pieces."""
    unpacker = zlib.decompressobj(wbits=31)
    packed = blob.read(_PIECE)
    while packed:
        try:
            piece = unpacker.decompress(packed, _PIECE)
        except zlib.error as error:
            raise refusal(f"a layer is not gzip: {error}") from error
        if piece:
            yield piece
        packed = unpacker.unconsumed_tail
        if unpacker.eof:
            packed = unpacker.unused_data
            unpacker = zlib.decompressobj(wbits=31)
        packed = packed or blob.read(_PIECE)
