"""The form of an archive: a line of JSON for every entry that is different, and pieces of files.

    {"stoa-volume": 1, "snapshot": "snp_…", "base": "snp_…" or ""}
    {"path": …, "kind": "f", …, "patch": true}      then pieces: 16 bytes offset and length, that many bytes;
                                                     16 zero bytes end a file
    {"gone": path}                                   the entry, and all below it, is not there any more
    {"end": true, "tree": sha, "files": n, "bytes": n}

All of it goes through zstd. "patch" means: what is at that path is changed where pieces say so. The sha of
the end is that of the whole state, not of the difference: who applies a chain compares with it.
"""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from runtime.errors import ArchiveDamagedError, HostError
from runtime.volume.entries import Entry, EntryKind, TreeSha, VolumeManifest, pairs, write_head
from runtime.volume.walk import (
    BLOCK_BYTES,
    PATH_BYTES,
    Walk,
    blocks_of,
    content_of,
    digest,
    opened_file,
)
from runtime.wire import parsed

_PIECE = struct.Struct(">QQ")
_END = _PIECE.pack(0, 0)
_ZEROS = bytes(BLOCK_BYTES)
LINE_LIMIT = 128 * 1024
_HIGHEST_ID = 65535


@dataclass(frozen=True, slots=True)
class PackedArchive:
    """What was written. raw_bytes: before zstd. is_changed: something differs from the base."""

    tree: str
    volume_bytes: int
    files: int
    raw_bytes: int
    is_changed: bool
    skipped: int


class Writable(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""
        ...


class Packer:
    """Writes one archive, and beside it the manifest that the next difference is made from."""

    def __init__(self, top: int, archive: Writable, manifest: BinaryIO) -> None:
        self._top = top
        self._archive = archive
        self._manifest = manifest
        self._raw = self._bytes = self._files = 0
        self._is_changed = False

    def pack(
        self,
        snapshot: str,
        base: str,
        old: VolumeManifest | None,
        *,
        taken_ns: int,
        seen: "Seen | None",
    ) -> PackedArchive:
        """Write all of it. old: the base's manifest, None for a full archive.

        seen: the entries as they were in the volume itself, where what is read is a copy of it.
        """
        walk, tree, covered = Walk(self._top), TreeSha(), "\0"
        write_head(self._manifest, taken_ns)
        self._line({"stoa-volume": 1, "snapshot": snapshot, "base": base})
        before = old.entries if old else iter(())
        for new, was in pairs(_as_seen(walk, seen), before):
            if was and (new is None or new.kind is not was.kind):
                inside_gone = was.path.startswith(covered)
                covered = covered if inside_gone else f"{was.path}/"
                if new is None and not inside_gone:
                    self._change({"gone": was.path})
            if new is not None:
                entry = self._entry(new, was, is_racy=bool(old and was and old.is_racy(was)))
                tree.add(entry)
                self._manifest.write(entry.line())
        end = {"tree": tree.hexdigest(), "files": self._files, "bytes": self._bytes}
        self._line({"end": True, **end})
        return PackedArchive(
            tree=tree.hexdigest(),
            volume_bytes=self._bytes,
            files=self._files,
            raw_bytes=self._raw,
            is_changed=self._is_changed,
            skipped=walk.skipped,
        )

    def _entry(self, new: Entry, was: Entry | None, *, is_racy: bool) -> Entry:
        if new.kind is not EntryKind.FILE:
            if was is None or was.facts != new.facts:
                self._change(header(new))
            return new
        entry = self._file(new, was, is_racy=is_racy)
        self._files += 1
        self._bytes += min(entry.size, len(entry.blocks) * BLOCK_BYTES)
        return entry

    def _file(self, new: Entry, was: Entry | None, *, is_racy: bool) -> Entry:
        old = was if was and was.kind is EntryKind.FILE else None
        with opened_file(self._top, new.path) as fd:
            if fd is None:
                raise HostError(f"{new.path!r} vanished from a state that stands still")
            if old and old.looks_like(new):
                if not is_racy:
                    return new.with_content(old.blocks)
                if (found := new.with_content(content_of(fd, new.size))).sha == old.sha:
                    return found
            self._change({**header(new), "patch": old is not None})
            return new.with_content(self._pieces(fd, new.size, old.blocks if old else {}))

    def _pieces(self, fd: int, size: int, old: dict[int, str]) -> dict[int, str]:
        found: dict[int, str] = {}
        for number, piece in blocks_of(fd, size):
            found[number] = digest(piece)
            if old.get(number) != found[number]:
                self._piece(number, piece)
        for number in old.keys() - found.keys():
            start = number * BLOCK_BYTES
            if start < size:  # a hole now
                self._piece(number, _ZEROS[: min(BLOCK_BYTES, size - start)])
        self._write(_END)
        return found

    def _piece(self, number: int, piece: bytes) -> None:
        self._write(_PIECE.pack(number * BLOCK_BYTES, len(piece)) + piece)

    def _change(self, change: dict[str, object]) -> None:
        self._is_changed = True
        self._line(change)

    def _line(self, line: dict[str, object]) -> None:
        self._write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        self._raw += len(data)
        self._archive.write(data)


Seen = Iterator[Entry]


def header(entry: Entry) -> dict[str, object]:
    """Return what an archive says of an entry, without its content."""
    return {
        "path": entry.path,
        "kind": entry.kind.value,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": entry.mtime_ns,
        "target": entry.target,
        "xattrs": dict(entry.xattrs),
    }


class ArchiveReader:
    """Reads an archive that may have been written by anybody: what does not fit is a HostError."""

    def __init__(self, stream: BinaryIO, *, most_bytes: int) -> None:
        self._stream = stream
        self._most = most_bytes
        self._left = most_bytes

    def lines(self) -> Iterator[dict[str, Any]]:
        """Everything an archive says, from its head to its end. A file's pieces are read between."""
        while True:
            line = self._stream.readline(LINE_LIMIT)
            try:
                document = parsed(line)
            except ValueError:
                document = None
            if not line.endswith(b"\n") or not isinstance(document, dict):
                raise damaged("it is not whole")
            yield document
            if document.get("end") is True:
                return

    def pieces(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield the pieces of the file whose entry was just read, by offset."""
        while (head := self._exactly(_PIECE.size)) != _END:
            offset, length = _PIECE.unpack(head)
            if not 0 < length <= BLOCK_BYTES or offset + length > size:
                raise damaged(f"a piece of {length} bytes at {offset} is in a file of {size}")
            self._left -= length
            if self._left < 0:
                raise damaged(f"it writes more than the limit of {self._most} bytes")
            yield offset, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        piece = self._stream.read(length)
        if len(piece) != length:
            raise damaged("it ends too early")
        return piece


def entry_of(fields: dict[str, Any]) -> Entry:
    """Return the entry that a line tells of, every part of it checked."""
    try:
        entry = Entry(
            path=checked_path(fields["path"]),
            kind=EntryKind(fields["kind"]),
            mode=_number(fields["mode"], 0o7777),
            uid=_number(fields["uid"], _HIGHEST_ID),
            gid=_number(fields["gid"], _HIGHEST_ID),
            size=_number(fields["size"], 2**62),
            mtime_ns=int(fields["mtime"]),
            target=str(fields["target"]),
            xattrs=tuple((str(name), str(value)) for name, value in fields["xattrs"].items()),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise damaged(f"an entry has a wrong part: {error}") from error
    if entry.kind is EntryKind.SAME:
        checked_path(entry.target)
    if not entry.path and entry.kind is not EntryKind.DIRECTORY:
        raise damaged("its top is no directory")
    if "\0" in entry.target or any(not name.startswith("user.") for name, _ in entry.xattrs):
        raise damaged(f"{entry.path!r} has parts that no archive may bring")
    return entry


def checked_path(path: object) -> str:
    """Return a path that stays below the top."""
    if not isinstance(path, str) or "\0" in path or len(os.fsencode(path)) > PATH_BYTES:
        raise damaged("a path in it is none")
    if path and any(part in {"", ".", ".."} for part in path.split("/")):
        raise damaged(f"the path {path[:200]!r} leads out of the volume")
    return path


def damaged(why: str) -> ArchiveDamagedError:
    """Return the error for an archive that is not as it should be."""
    return ArchiveDamagedError(f"a volume's archive cannot be used: {why}")


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is not 0 to {most}")
    return value


def _as_seen(walk: Walk, seen: Seen | None) -> Iterator[Entry]:
    """Yield the entries of a copy, with the times and numbers their originals had."""
    if seen is None:
        yield from walk
        return
    for copy, original in pairs(walk, seen):
        if copy is None:
            continue  # it could not be copied: it was gone
        yield copy if original is None else copy.identified_as(original)
