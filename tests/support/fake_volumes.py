"""The volumes of a FakeDriver: real content, in memory, put away and fetched as a host does it.

Archives are JSON, go over HTTP like real ones, and to addresses of files and of memory_repository beside, so
that flows can be tested without a server.
"""

import base64
import hashlib
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtime.errors import HostError, TransferFailedError
from runtime.volume.transfer import ArchiveClient
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumePart, VolumeSave, VolumeSaved
from tests.support import memory_repository

Files = dict[str, bytes]


class FakeVolumes:
    """What the volumes of one host hold, and which snapshots of them it remembers.

    contents: the files of each volume by path; tests write there as a tenant would.
    """

    def __init__(self) -> None:
        self.contents: defaultdict[str, Files] = defaultdict(dict)
        self._known: defaultdict[str, dict[str, Files]] = defaultdict(dict)
        self._loaded: dict[str, str] = {}

    def save(self, save: VolumeSave) -> VolumeSaved:
        """Put the present content away, as a difference where the base is known here."""
        files = dict(self.contents[save.volume])
        base = self._known[save.volume].get(save.base)
        is_anew = bool(save.base) and not self._known[save.volume]
        size = sum(map(len, files.values()))
        if base == files:
            return VolumeSaved(save.snapshot, save.base, "", 0, size, len(files), 0.0, True)
        archive = _pack(files, base)
        _put(save.put_url, archive)
        self._known[save.volume][save.snapshot] = files
        return VolumeSaved(
            snapshot=save.snapshot,
            base="" if base is None else save.base,
            sha256=hashlib.sha256(archive).hexdigest(),
            archive_bytes=len(archive),
            volume_bytes=size,
            files=len(files),
            frozen_ms=0.0,
            is_anew=is_anew,
        )

    def load(self, load: VolumeLoad) -> VolumeLoaded:
        """Make the content be what the chain says; whatever goes wrong leaves it as it was."""
        held, rest = self._beginning(load)
        files = dict(self.contents[load.volume]) if held else {}
        for part in rest:
            files = _applied(files, _get(part))
        size = sum(map(len, files.values()))
        if size > load.ceiling_bytes:
            raise HostError(
                f"{load.volume} would hold {size} bytes; its limit is {load.ceiling_bytes}"
            )
        self.contents[load.volume] = files
        last = load.chain[-1].snapshot
        self._known[load.volume][last] = dict(files)
        self._loaded[load.volume] = last
        return VolumeLoaded(load.volume, last, size, sum(part.archive_bytes for part in rest))

    def begin_to_run(self, volume: str) -> None:
        """From now on the volume may be at no snapshot's state any more."""
        self._loaded.pop(volume, None)

    def forget(self, volume: str) -> None:
        """The volume is gone."""
        for noted in (self.contents, self._known, self._loaded):
            noted.pop(volume, None)

    def _beginning(self, load: VolumeLoad) -> tuple[bool, tuple[VolumePart, ...]]:
        """Whether the volume is at one of the chain's states, and what of the chain is missing."""
        names = [part.snapshot for part in load.chain]
        at = self._loaded.get(load.volume)
        if at not in names:
            return False, load.chain
        return True, load.chain[names.index(at) + 1 :]


def _pack(files: Files, base: Files | None) -> bytes:
    old = base or {}
    changed = {name: content for name, content in files.items() if old.get(name) != content}
    return json.dumps(
        {
            "is_full": base is None,
            "files": {name: base64.b64encode(one).decode() for name, one in changed.items()},
            "removed": sorted(old.keys() - files.keys()),
        }
    ).encode()


def _applied(files: Files, archive: bytes) -> Files:
    told = json.loads(archive)
    kept = {} if told["is_full"] else {**files}
    for name in told["removed"]:
        kept.pop(name, None)
    return kept | {name: base64.b64decode(one) for name, one in told["files"].items()}


def _put(url: str, archive: bytes) -> None:
    if url.startswith(memory_repository.SCHEME):
        memory_repository.put(url, archive)
        return
    if url.startswith("file:"):
        _file_of(url).write_bytes(archive)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(archive)
        file.flush()
        ArchiveClient().put(url, Path(file.name), size=len(archive))


def _get(part: VolumePart) -> bytes:
    if part.get_url.startswith(("file:", memory_repository.SCHEME)):
        content = _content_of(part)
        if hashlib.sha256(content).hexdigest() != part.sha256:
            raise TransferFailedError(f"{part.snapshot} is something else than its archive")
        return content
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "archive"
        ArchiveClient().get(part.get_url, target, size=part.archive_bytes, sha256=part.sha256)
        return target.read_bytes()


def _content_of(part: VolumePart) -> bytes:
    if part.get_url.startswith(memory_repository.SCHEME):
        return memory_repository.get(part.get_url)
    try:
        return _file_of(part.get_url).read_bytes()
    except FileNotFoundError as error:
        raise TransferFailedError(f"{part.snapshot} cannot be fetched") from error


def _file_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))
