"""Putting a host's volumes away and fetching them: the two verbs, in their parts.

A state is fetched into a tree beside the volume and compared, as a whole, with the sha its archive ends
with; then both change places at once. Whoever is killed in between leaves the old state or the new one.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock

from runtime.disk import Spaces, marks
from runtime.errors import ArchiveDamagedError, CommandFailedError, HostError
from runtime.system import syscalls
from runtime.system.commands import fed, read_from
from runtime.system.trees import disk_bytes, remove_tree
from runtime.volume import identity
from runtime.volume.archive import PackedArchive, Packer, Seen
from runtime.volume.build import apply
from runtime.volume.capture import Captured, Stillness, captured, duplicate
from runtime.volume.entries import EntryKind, TreeSha, VolumeManifest, read_manifest, write_head
from runtime.volume.keeping import SnapshotNotes
from runtime.volume.transfer import ArchiveClient
from runtime.volume.walk import Walk, content_of, opened_file, opened_tree
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumePart, VolumeSave, VolumeSaved

# A difference of more than half of the volume is not worth its place in a chain.
_WORTH = 0.5
_SMALL_BYTES = 4096
# One extra above the limit may have been granted, and was paid for with data that is to come back.
_LIMIT_FACTOR = 1.1
_SLACK_BYTES = 1024 * 1024
_ZSTD_SECONDS = 600.0
_PACK = ("zstd", "-3", "-T1", "-q", "-c", "--check")
_UNPACK = ("zstd", "-d", "-q", "-c", "--memory=256MB")


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    base: str
    size: int
    sha256: str
    packed: PackedArchive


class Volumes:
    """Safe to share between threads; one volume is worked on by one of them at a time."""

    def __init__(self, keeping: SnapshotNotes, spaces: Spaces, carrier: ArchiveClient) -> None:
        self._keeping = keeping
        self._spaces = spaces
        self._carrier = carrier
        self._locks: defaultdict[str, RLock] = defaultdict(RLock)

    def save(self, save: VolumeSave, stillness: Stillness) -> VolumeSaved:
        """Put the present state of a volume away."""
        volume = self._spaces.find(save.volume)
        self._spaces.note_content(save.volume)
        with _gently(save.volume), self._locks[save.volume], self._keeping.workplace() as work:
            is_anew = self._is_anew(save, volume)
            with captured(volume, work, stillness) as state:
                archive = self._packed(save, save.base, state, work)
                if _is_hardly_worth_it(archive):
                    archive = self._packed(save, "", state, work)
            return replace(self._put(save, archive, state, work), is_anew=is_anew)

    def load(self, load: VolumeLoad) -> VolumeLoaded:
        """Make a volume, which nobody uses, be what the chain says."""
        volume = self._spaces.volume(load.volume)
        with _gently(load.volume), self._locks[load.volume], self._keeping.workplace() as work:
            if load.only_missing and self._spaces.holds(load.volume):
                return VolumeLoaded(load.volume, "", disk_bytes(volume), 0)
            rest = self._rest(load)
            if rest:
                self._fetch(rest, work)
                with self._spaces.room_for_loading(load.instance_id, load.volume) as beside:
                    self._build(load, rest, beside, work)
            last = load.chain[-1].snapshot
            return VolumeLoaded(
                volume=load.volume,
                snapshot=last,
                volume_bytes=disk_bytes(volume),
                fetched_bytes=sum(part.archive_bytes for part in rest),
            )

    # Putting away ------------------------------------------------------------------------------

    def _packed(self, save: VolumeSave, base: str, state: Captured, work: Path) -> _Archive:
        target, manifest = work / "archive", work / "manifest"
        known = self._keeping.manifest(save.volume, base)
        with (
            target.open("wb") as file,
            manifest.open("wb") as notes,
            opened_tree(state.tree) as top,
            _reading(known) as old,
            _seen(state) as seen,
            fed(*_PACK, to=file.fileno(), timeout=_ZSTD_SECONDS) as archive,
        ):
            packed = Packer(top, archive, notes).pack(
                save.snapshot, base if old else "", old, taken_ns=state.taken_ns, seen=seen
            )
        size, sha256 = _measured(target)
        return _Archive(target, base if known else "", size, sha256, packed)

    def _is_anew(self, save: VolumeSave, volume: Path) -> bool:
        """Return whether this is another directory than the one that was copied, or loaded, here before.

        Said again until a copy of it is what the next one is a difference to: then it was heard.
        """
        now = identity.of(volume)
        before, other, by = self._keeping.directory(save.volume)
        if not before and (not save.base or self._keeping.manifest(save.volume, save.base)):
            before = now
        is_heard = other == now and bool(save.base) and by == save.base
        if before == now or is_heard:
            self._keeping.note_directory(save.volume, now)
            return False
        self._keeping.note_directory(save.volume, before, other=now, by=save.snapshot)
        return True

    def _put(self, save: VolumeSave, archive: _Archive, state: Captured, work: Path) -> VolumeSaved:
        packed = archive.packed
        is_same = bool(archive.base) and not packed.is_changed
        if not is_same:
            self._carrier.put(save.put_url, archive.path, size=archive.size)
            self._keeping.keep(save.volume, save.snapshot, work / "manifest")
        return VolumeSaved(
            snapshot=save.snapshot,
            base=archive.base,
            sha256="" if is_same else archive.sha256,
            archive_bytes=0 if is_same else archive.size,
            volume_bytes=packed.volume_bytes,
            files=packed.files,
            frozen_ms=state.frozen_ms,
            unchanged=is_same,
            skipped=packed.skipped + state.skipped,
        )

    # Fetching ----------------------------------------------------------------------------------

    def _rest(self, load: VolumeLoad) -> tuple[VolumePart, ...]:
        """Return the part of the chain that is missing here."""
        names = [part.snapshot for part in load.chain]
        at = self._keeping.loaded(load.volume)
        if at not in names or not self._spaces.holds(load.volume):
            return load.chain
        return load.chain[names.index(at) + 1 :]

    def _fetch(self, rest: tuple[VolumePart, ...], work: Path) -> None:
        for part in rest:
            self._carrier.get(
                part.get_url,
                work / part.snapshot,
                size=part.archive_bytes,
                sha256=part.sha256,
            )

    def _build(
        self, load: VolumeLoad, rest: tuple[VolumePart, ...], beside: Path, work: Path
    ) -> None:
        """Make the state in a tree beside the volume, prove it, and let both change places."""
        volume = self._spaces.volume(load.volume)
        most = int(load.ceiling_bytes * _LIMIT_FACTOR) + _SLACK_BYTES
        names = [part.snapshot for part in load.chain]
        at = names.index(rest[0].snapshot)
        base = names[at - 1] if at else ""
        _begin(beside, volume if base else None, load, work)
        tree = ""
        for part in rest:
            with (
                _named(part.snapshot),
                (work / part.snapshot).open("rb") as file,
                read_from(*_UNPACK, of=file.fileno(), timeout=_ZSTD_SECONDS) as stream,
            ):
                tree = apply(stream, beside, snapshot=part.snapshot, base=base, most_bytes=most)
            base = part.snapshot
        with opened_tree(beside) as top:
            syscalls.sync_filesystem(top)
        occupied = disk_bytes(beside)
        if occupied > load.ceiling_bytes * _LIMIT_FACTOR:
            raise HostError(
                f"{load.volume} would occupy {occupied} bytes;"
                f" its limit is {load.ceiling_bytes} bytes"
            )
        if _noted(beside, work / "manifest") != tree:
            raise ArchiveDamagedError(
                f"{load.volume} is not what {base} was; nothing was changed", snapshot=base
            )
        marks.write(beside, load.volume)
        self._spaces.set_aside(load.volume)
        self._keeping.begin_to_run(load.volume)  # at no known state, for a moment
        _take_place(beside, volume)
        self._keeping.note_directory(load.volume, identity.of(volume))
        self._keeping.keep(load.volume, base, work / "manifest")
        self._keeping.is_at(load.volume, base)


def _is_hardly_worth_it(archive: _Archive) -> bool:
    packed = archive.packed
    return (
        bool(archive.base)
        and packed.is_changed
        and packed.raw_bytes > packed.volume_bytes * _WORTH + _SMALL_BYTES
    )


@contextmanager
def _named(snapshot: str) -> Iterator[None]:
    """Say of an archive that cannot be used which one it is. zstd ends badly over one that is none."""
    try:
        yield
    except ArchiveDamagedError as error:
        raise ArchiveDamagedError(error.message, snapshot=snapshot) from error
    except CommandFailedError as error:
        if error.details.get("exit_code") != 1:
            raise
        raise ArchiveDamagedError(
            f"a volume's archive cannot be used: {error.message}", snapshot=snapshot
        ) from error


def _begin(beside: Path, volume: Path | None, load: VolumeLoad, work: Path) -> None:
    """An empty tree, or one that is as the volume is now."""
    remove_tree(beside)
    beside.mkdir(mode=0o755)
    os.chown(beside, load.uid, load.gid)
    if volume is not None:
        duplicate(volume, beside, work / "before")


def _noted(tree: Path, manifest: Path) -> str:
    """Write the manifest of a tree that nobody writes to; the sha of the whole."""
    found = TreeSha()
    with opened_tree(tree) as top, manifest.open("wb") as notes:
        write_head(notes, time.time_ns())
        for entry in Walk(top):
            noted = entry
            if entry.kind is EntryKind.FILE:
                with opened_file(top, entry.path) as fd:
                    noted = entry.with_content(content_of(fd, entry.size) if fd else {})
            found.add(noted)
            notes.write(noted.line())
    return found.hexdigest()


def _take_place(beside: Path, volume: Path) -> None:
    if volume.exists():
        syscalls.exchange(str(beside), str(volume))
    else:
        beside.rename(volume)
    with opened_tree(volume.parent) as parent:
        os.fsync(parent)
    remove_tree(beside)


@contextmanager
def _reading(manifest: Path | None) -> Iterator[VolumeManifest | None]:
    if manifest is None:
        yield None
        return
    with manifest.open("rb") as file:
        yield read_manifest(file)


@contextmanager
def _seen(state: Captured) -> Iterator[Seen | None]:
    with _reading(state.seen) as manifest:
        yield manifest.entries if manifest else None


def _measured(path: Path) -> tuple[int, str]:
    found, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 18):
            found.update(piece)
            size += len(piece)
    return size, found.hexdigest()


@contextmanager
def _gently(volume: str) -> Iterator[None]:
    """Behind everybody else at the disk; what the disk refuses is the host's failure."""
    syscalls.yield_disk()
    try:
        yield
    except OSError as error:
        raise HostError(f"the volume {volume} cannot be worked on: {error}") from error
    finally:
        syscalls.claim_disk()
