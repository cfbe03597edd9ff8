"""What a volume consists of, as values: one per file, directory or link, and how two states compare.

The order of entries is that of a walk: a directory before what is in it, names in order. Both sides of
a comparison are read once, front to back, so that a million files need no more memory than a hundred.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import BinaryIO

from runtime.errors import HostError
from runtime.wire import parsed

# A file written in the same tick of the kernel's clock as it was looked at may change without a trace.
RACY_NANOS = 20_000_000


class EntryKind(StrEnum):
    """What an entry is; there is nothing else in an archive."""

    DIRECTORY = "d"
    FILE = "f"
    LINK = "l"  # symbolic; target is what it says
    SAME = "h"  # another name of an earlier file; target is that file's path
    FIFO = "p"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a volume. path: below its top, "" for the top itself.

    sha: of a file's content, from blocks: the digest of each piece that is not all zeros, by its number.
    """

    path: str
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()
    sha: str = ""
    blocks: dict[int, str] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        """Sorts entries as a walk meets them."""
        return self.path.split("/") if self.path else []

    def looks_like(self, other: "Entry") -> bool:
        """Return whether nothing shows that one became the other, content aside."""
        return self.facts == other.facts and (self.ctime_ns, self.inode) == (
            other.ctime_ns,
            other.inode,
        )

    @property
    def facts(self) -> tuple[object, ...]:
        """Return what an archive restores of an entry, without its content."""
        # A directory's size is its file system's own affair.
        size = self.size if self.kind is EntryKind.FILE else 0
        owned = (self.mode, self.uid, self.gid, size, self.mtime_ns, self.target, self.xattrs)
        # Another name of a file has nothing of its own.
        return (self.kind, self.target) if self.kind is EntryKind.SAME else (self.kind, *owned)

    def with_content(self, blocks: dict[int, str]) -> "Entry":
        """Return the entry with what was found in the file."""
        return replace(self, blocks=blocks, sha=content_sha(self.size, blocks))

    def identified_as(self, original: "Entry") -> "Entry":
        """Return the entry with the number and time of what it is a copy of."""
        return replace(self, ctime_ns=original.ctime_ns, inode=original.inode)

    def line(self) -> bytes:
        """Return one line of a manifest."""
        blocks = {str(number): digest for number, digest in self.blocks.items()}
        return _json(
            [
                *(self.path, self.kind.value, self.mode, self.uid, self.gid, self.size),
                *(self.mtime_ns, self.ctime_ns, self.inode, self.target),
                *(dict(self.xattrs), self.sha, blocks),
            ]
        )


def content_sha(size: int, blocks: dict[int, str]) -> str:
    """Return the hash of a file's whole content."""
    found = hashlib.sha256(str(size).encode())
    for number, digest in blocks.items():
        found.update(f",{number}:{digest}".encode())
    return found.hexdigest()


class TreeSha:
    """One sha256 over a whole state: equal when, and only when, all that archives bring back is equal."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, entry: Entry) -> None:
        """Entries come in order."""
        self._hash.update(_json([entry.path, *entry.facts, entry.sha]))

    def hexdigest(self) -> str:
        """Return the sha of all that was added."""
        return self._hash.hexdigest()


@dataclass(slots=True)
class VolumeManifest:
    """A state as it lies in a file: when it was looked at, and its entries, read once."""

    taken_ns: int
    entries: Iterator[Entry]

    def is_racy(self, entry: Entry) -> bool:
        """Return whether a file may have changed since without its times showing it."""
        return entry.ctime_ns >= self.taken_ns - RACY_NANOS


def write_head(file: BinaryIO, taken_ns: int) -> None:
    """Begin a manifest."""
    file.write(_json({"stoa-manifest": 1, "taken_ns": taken_ns}))


def read_manifest(file: BinaryIO) -> VolumeManifest:
    """Read a manifest's head; its entries come as they are asked for. HostError when it is none."""
    try:
        head = parsed(file.readline())
        if head["stoa-manifest"] != 1:
            raise ValueError("it is of another version")
        return VolumeManifest(int(head["taken_ns"]), _entries(file))
    except (ValueError, TypeError, KeyError) as error:
        raise HostError(f"a manifest of this host cannot be read: {error}") from error


def pairs(
    new: Iterable[Entry], old: Iterable[Entry]
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Return the entries of two states at each path; None where a state has nothing there."""
    news, olds = iter(new), iter(old)
    left, right = next(news, None), next(olds, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.order < right.order):
            yield left, None
            left = next(news, None)
        elif left is None or right.order < left.order:
            yield None, right
            right = next(olds, None)
        else:
            yield left, right
            left, right = next(news, None), next(olds, None)


def _entries(file: BinaryIO) -> Iterator[Entry]:
    for line in file:
        *head, mtime, ctime, inode, target, xattrs, sha, blocks = parsed(line)
        path, kind, mode, uid, gid, size = head
        yield Entry(
            path=path,
            kind=EntryKind(kind),
            mode=mode,
            uid=uid,
            gid=gid,
            size=size,
            mtime_ns=mtime,
            ctime_ns=ctime,
            inode=inode,
            target=target,
            xattrs=tuple(xattrs.items()),
            sha=sha,
            blocks={int(number): found for number, found in blocks.items()},
        )


def _json(value: object) -> bytes:
    # Names that are no text travel as lone surrogates, which only the escaped form can hold.
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
