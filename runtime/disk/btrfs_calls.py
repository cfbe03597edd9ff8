"""btrfs' own ioctls: subvolumes, quota groups, and reading its trees in bulk.

The btrfs program does the same, but starting it costs more than the whole start of a container may:
made and limited here, a subvolume takes a twentieth of a millisecond. Every failure is an OSError.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = 0x94
_WRITE, _READ = 1, 2


def _number(direction: int, function: int, size: int) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | function


_VOLUME_ARGS = struct.Struct("<q4088s")
_SNAPSHOT_ARGS = struct.Struct("<qQQ32s4040s")
_CREATE = _number(_WRITE, 14, _VOLUME_ARGS.size)
_SNAPSHOT = _number(_WRITE, 23, _SNAPSHOT_ARGS.size)
_DESTROY = _number(_WRITE, 15, _VOLUME_ARGS.size)
_SEARCH = _number(_READ | _WRITE, 17, 112)
_LOOKUP = _number(_READ | _WRITE, 18, 4096)
_START_SYNC = _number(_READ, 24, 8)
_QUOTA_CTL = _number(_READ | _WRITE, 40, 16)
_GROUP_CREATE = _number(_WRITE, 42, 16)
_GROUP_LIMIT = _number(_READ, 43, 48)

_ENABLE_QUOTA = 1
_READ_ONLY = 2
_LIMIT_REFERENCED = 1
# "No limit" is written as this number: a limit that was set is never unset by clearing the flag.
_NO_LIMIT = 2**64 - 1

_ROOT_TREE, _TOP, _QUOTA_TREE = 1, 5, 8
_ROOT_REF = 156
_TOP_INODE = 256
_GROUP_STATUS, _GROUP_INFO, _GROUP_LIMITS = 240, 242, 244
_STATUS = struct.Struct("<QQQ")
_INFO = struct.Struct("<QQ")
_LIMITS = struct.Struct("<QQ")
_REF = struct.Struct("<QQH")

_KEY = struct.Struct("<QQQQQQQIII")
_HEADER = struct.Struct("<QQQII")
_SEARCH_HEAD = 112
_SEARCH_BYTES = 1 << 20
_MOST = 2**64 - 1

QUOTA_ON = 1
QUOTA_INCONSISTENT = 4


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a tree: its key's object and offset, and its content."""

    object_id: int
    offset: int
    content: bytes


def create_subvolume(parent: int, name: str) -> None:
    """Make a subvolume in the directory parent; FileExistsError when the name is taken."""
    fcntl.ioctl(parent, _CREATE, _named(name))


def snapshot_subvolume(source: int, parent: int, name: str) -> None:
    """Make a read-only snapshot of the subvolume source in the directory parent.

    It holds what was written before, also what had not reached the disk yet.
    """
    args = bytearray(_SNAPSHOT_ARGS.pack(source, 0, _READ_ONLY, b"", name.encode()))
    fcntl.ioctl(parent, _SNAPSHOT, args)


def destroy_subvolume(parent: int, name: str) -> None:
    """Delete a subvolume with all it holds; its blocks come back moments later, in the background."""
    fcntl.ioctl(parent, _DESTROY, _named(name))


def subvolume_id(fd: int) -> int:
    """Return the number of the subvolume that a descriptor lies in."""
    answer = bytearray(4096)
    struct.pack_into("<QQ", answer, 0, 0, _TOP_INODE)
    fcntl.ioctl(fd, _LOOKUP, answer)
    return int(struct.unpack_from("<Q", answer)[0])


def is_top(fd: int) -> bool:
    """Return whether a descriptor is the top directory of its file system."""
    return subvolume_id(fd) == _TOP and os.fstat(fd).st_ino == _TOP_INODE


def enable_quota(fd: int) -> None:
    """Count what every subvolume refers to, from now on; no-op if it is counted already."""
    fcntl.ioctl(fd, _QUOTA_CTL, bytearray(struct.pack("<QQ", _ENABLE_QUOTA, 0)))


def quota_flags(fd: int) -> int:
    """QUOTA_ON and others; 0 where quotas are off. OSError (ENOTTY) on another file system."""
    try:
        items = list(_search(fd, _QUOTA_TREE, _GROUP_STATUS))
    except FileNotFoundError:
        return 0
    return int(_STATUS.unpack_from(items[0].content)[2]) if items else 0


def limit(fd: int, amount: int | None) -> None:
    """The most the subvolume of fd may refer to, in bytes; None for no limit."""
    wanted = _NO_LIMIT if amount is None else amount
    fcntl.ioctl(
        fd, _GROUP_LIMIT, bytearray(struct.pack("<6Q", 0, _LIMIT_REFERENCED, wanted, 0, 0, 0))
    )


def limit_of(fd: int, subvolume: int) -> int | None:
    """Return the limit of a subvolume that `limit` has set; None for no limit."""
    for item in _search(fd, _QUOTA_TREE, _GROUP_LIMITS, offsets=(subvolume, subvolume)):
        flags, amount = _LIMITS.unpack_from(item.content)
        return amount if flags & _LIMIT_REFERENCED and amount != _NO_LIMIT else None
    return None


def limits(fd: int) -> dict[int, int]:
    """Return every limit by subvolume; those without one are left out."""
    found = {}
    for item in _search(fd, _QUOTA_TREE, _GROUP_LIMITS):
        flags, amount = _LIMITS.unpack_from(item.content)
        if flags & _LIMIT_REFERENCED and amount != _NO_LIMIT:
            found[item.offset] = amount
    return found


def referenced(fd: int, subvolume: int) -> int:
    """Return the bytes that a subvolume referred to at the last commit."""
    for item in _search(fd, _QUOTA_TREE, _GROUP_INFO, offsets=(subvolume, subvolume)):
        return int(_INFO.unpack_from(item.content)[1])
    return 0


def all_referenced(fd: int) -> dict[int, int]:
    """Return the bytes that every subvolume refers to, by its number."""
    return {
        item.offset: _INFO.unpack_from(item.content)[1]
        for item in _search(fd, _QUOTA_TREE, _GROUP_INFO)
    }


def subvolume_names(directory: int) -> dict[int, str]:
    """Return the names of the subvolumes that lie in a directory, by their numbers."""
    place = (subvolume_id(directory), os.fstat(directory).st_ino)
    found = {}
    for item in _search(directory, _ROOT_TREE, _ROOT_REF):
        inode, _sequence, length = _REF.unpack_from(item.content)
        if (item.object_id, inode) == place:
            name = item.content[_REF.size : _REF.size + length]
            found[item.offset] = name.decode("utf-8", "surrogateescape")
    return found


def subvolume_ids(fd: int) -> set[int]:
    """Return the numbers of all subvolumes of the file system, the top one included."""
    return {_TOP, *(item.offset for item in _search(fd, _ROOT_TREE, _ROOT_REF))}


def remove_group(fd: int, subvolume: int) -> None:
    """Forget the quota group of a subvolume that is gone; OSError (EBUSY) while it is not quite."""
    fcntl.ioctl(fd, _GROUP_CREATE, bytearray(struct.pack("<QQ", 0, subvolume)))


def begin_commit(fd: int) -> None:
    """Begin to write down what happened, without waiting: deleted subvolumes give back their blocks then."""
    fcntl.ioctl(fd, _START_SYNC, bytearray(8))


def _named(name: str) -> bytearray:
    encoded = name.encode()
    if not encoded or len(encoded) > 255 or b"/" in encoded:
        raise ValueError(f"{name!r} cannot name a subvolume")
    return bytearray(_VOLUME_ARGS.pack(0, encoded))


def _search(
    fd: int, tree: int, kind: int, *, offsets: tuple[int, int] = (0, _MOST)
) -> Iterator[Item]:
    """Yield all items of one kind in a tree, a megabyte at a time."""
    # Offsets are bounds of the last part of a key, not a filter: one item alone is looked up by bounds
    # on the object too, which is 0 for all quota items.
    is_single = offsets[0] == offsets[1]
    start = (0, kind, offsets[0])
    last_object = 0 if is_single else _MOST
    buffer = bytearray(_SEARCH_HEAD + (4096 if is_single else _SEARCH_BYTES))
    while True:
        _KEY.pack_into(
            buffer, 0, tree, start[0], last_object, start[2], offsets[1], 0, _MOST, start[1], kind,
            2**32 - 1,
        )  # fmt: skip
        struct.pack_into("<Q", buffer, 104, len(buffer) - _SEARCH_HEAD)
        fcntl.ioctl(fd, _SEARCH, buffer)
        count = struct.unpack_from("<I", buffer, 64)[0]
        place = _SEARCH_HEAD
        last = start
        for _ in range(count):
            _transid, object_id, offset, found, length = _HEADER.unpack_from(buffer, place)
            place += _HEADER.size
            if found == kind and offsets[0] <= offset <= offsets[1]:
                yield Item(object_id, offset, bytes(buffer[place : place + length]))
            place += length
            last = (object_id, found, offset)
        if count == 0 or is_single or last[2] == _MOST:
            return
        start = (last[0], last[1], last[2] + 1)
