"""A state of a volume that stands still, while its tenant goes on writing.

Where the volume lies in a btrfs subvolume the file system makes one in milliseconds and nobody waits.
Elsewhere the volume is copied twice: once while it is in use, and then, with the container frozen,
what has changed meanwhile. A database between two writes is not torn: frozen or snapshotted, it is as
after a power cut, which it is made for.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.disk import btrfs_calls as btrfs
from runtime.disk.descriptors import opened
from runtime.errors import HostError
from runtime.volume import held
from runtime.volume.build import Builder
from runtime.volume.entries import Entry, EntryKind, pairs, read_manifest, write_head
from runtime.volume.walk import BLOCK_BYTES, Walk, blocks_of, opened_file, opened_tree

FROZEN_SECONDS = 5.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_SNAPSHOTS = ".snapshots"
_VANISHED = (FileNotFoundError, NotADirectoryError, HostError)


@dataclass(frozen=True, slots=True)
class Captured:
    """A state that stands still. seen: the entries as they were in the volume, where tree is a copy;
    skipped: those of them that were not copied, because no archive takes them.

    taken_ns: what changed after it, by this host's clock, may have changed without a trace.
    """

    tree: Path
    taken_ns: int
    frozen_ms: float
    seen: Path | None = None
    skipped: int = 0


# Freeze: for so many seconds at most. Thaw: whether it had stood still until then.
Freeze = Callable[[str, float], None]
Thaw = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Stillness:
    """Who writes to the volume, and how they are made to stand still."""

    writers: Sequence[str]
    freeze: Freeze
    thaw: Thaw


@contextmanager
def captured(volume: Path, work: Path, stillness: Stillness) -> Iterator[Captured]:
    """The volume as it is at one moment; gone after the block. work: an empty directory for a copy."""
    space = volume.parent
    if is_subvolume(space):
        with _snapshot(space) as (top, taken_ns):
            yield Captured(top / volume.name, taken_ns, 0.0)
    else:
        yield _copied(volume, work, stillness)


def sweep(store: Path) -> None:
    """Remove snapshots that a killed agent left in a store."""
    held.sweep(store / _SNAPSHOTS, _destroy)


def is_subvolume(path: Path) -> bool:
    """Return whether a directory is a btrfs subvolume of its own, and not the top of its file system."""
    try:
        with opened(path, _DIRECTORY) as fd:
            return os.fstat(fd).st_ino == 256 and not btrfs.is_top(fd)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTTY, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL}:
            return False
        raise


@contextmanager
def _snapshot(space: Path) -> Iterator[tuple[Path, int]]:
    def make(path: Path) -> None:
        with opened(path.parent, _DIRECTORY) as parent, opened(space, _DIRECTORY) as source:
            btrfs.snapshot_subvolume(source, parent, path.name)

    name = f"{space.name}-{secrets.token_hex(4)}"
    taken_ns = time.time_ns()
    with held.held(space.parent / _SNAPSHOTS, name, make=make, remove=_destroy) as top:
        yield top, taken_ns


def _destroy(snapshot: Path) -> None:
    with opened(snapshot.parent, _DIRECTORY) as parent:
        btrfs.destroy_subvolume(parent, snapshot.name)


# Without snapshots: copy, freeze, copy the rest ----------------------------------------------------


def duplicate(volume: Path, copy: Path, notes: Path) -> None:
    """Fill an empty directory with what a volume holds that nobody writes to."""
    with opened_tree(volume) as top:
        _copy_live(top, copy, notes)


def _copied(volume: Path, work: Path, stillness: Stillness) -> Captured:
    copy, first, seen = work / "copy", work / "first", work / "seen"
    copy.mkdir(mode=0o700)
    # What changed since the first look is not written back before it is read: nobody waits for a disk
    # while frozen. So it counts as racy, and the next difference reads it again.
    taken_ns = time.time_ns()
    with opened_tree(volume) as live:
        _copy_live(live, copy, first)
        began = time.monotonic()
        with _standing_still(stillness):
            skipped = _copy_rest(live, copy, first, seen)
        took_ms = (time.monotonic() - began) * 1000 if stillness.writers else 0.0
    return Captured(copy, taken_ns, round(took_ms, 2), seen, skipped)


@contextmanager
def _standing_still(stillness: Stillness) -> Iterator[None]:
    frozen: list[str] = []
    held = []
    try:
        for writer in stillness.writers:
            frozen.append(writer)
            stillness.freeze(writer, FROZEN_SECONDS)
        yield
    finally:
        for writer in frozen:
            held.append(stillness.thaw(writer))
    if not all(held):
        raise HostError(
            f"what changed in the volume could not be copied within {FROZEN_SECONDS:g} s;"
            " give this host a store (btrfs), where nobody has to stand still"
        )


def _copy_live(live: int, copy: Path, first: Path) -> None:
    """Copy what is there, and note what each entry looked like before it was read."""
    with first.open("wb") as notes, Builder(copy) as builder:
        write_head(notes, time.time_ns())
        for entry in Walk(live):
            with suppress(*_VANISHED):  # the second pass sees to it
                if _copy(live, entry, builder, writes_back=True):
                    notes.write(entry.line())


def _copy_rest(live: int, copy: Path, first: Path, seen: Path) -> int:
    """Bring the copy to what is there now, and note that; how many entries no archive takes."""
    walk = Walk(live)
    with first.open("rb") as notes, seen.open("wb") as found, Builder(copy) as builder:
        before = read_manifest(notes)
        write_head(found, time.time_ns())
        for new, was in pairs(walk, before.entries):
            if new is None:
                if was:
                    builder.remove(was.path)
                continue
            found.write(new.line())
            # Files written in the tick they were read in look the same and are not.
            is_new = was is None or before.is_racy(new) or not was.looks_like(new)
            # Another name goes with its file, which may just have been made anew.
            if is_new or new.kind is EntryKind.SAME:
                _copy(live, new, builder, writes_back=False)
    return walk.skipped


def _copy(live: int, entry: Entry, builder: Builder, *, writes_back: bool) -> bool:
    """Copy one entry; False when it has vanished. writes_back: have a file on the disk first."""
    if entry.kind is not EntryKind.FILE:
        builder.make(entry)
        return True
    with opened_file(live, entry.path) as fd:
        if fd is None:
            return False
        if writes_back:
            # What is written through a mapping shows in the times only from a write-back on.
            os.fsync(fd)
        pieces = ((number * BLOCK_BYTES, piece) for number, piece in blocks_of(fd, entry.size))
        builder.make(entry, pieces)
    return True
