"""What a host remembers of the states it has put away or fetched: manifests, and what lies ready to be sent.

All of it may be lost at any time: then the next state that is put away is a full one, and the next
one that is fetched is fetched whole.

snapshots/<volume>/<snapshot>     a manifest, sum.<snapshot> its SHA-256; loaded: the state the
                                  volume is at, until it is run; directory: which directory these notes are of
snapshots/.for/<instance>          the volume that was loaded for an instance, until it is gone
snapshots/.work/<random>/         archives and copies in the making
"""

import hashlib
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import HostError, SpecInvalidError
from runtime.ids import check_instance_id, check_slug, check_snapshot_id
from runtime.system.files import make_directory, remove_anything, take_place, write_atomically
from runtime.system.trees import remove_tree, sync_directory
from runtime.volume import held
from runtime.volume.entries import read_manifest

# As many states as a next one may be a difference to: the last that was kept, and those under way.
_MANIFESTS = 3

log = logging.getLogger(__name__)


class SnapshotNotes:
    """The notes of one host."""

    def __init__(self, state_dir: Path) -> None:
        self._top = state_dir / "snapshots"
        self._work = self._top / ".work"
        self._for = self._top / ".for"

    def sweep(self) -> None:
        """Throw away what was in the making when an agent was killed."""
        held.sweep(self._work, remove_tree)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A directory for one piece of work; gone afterwards."""
        name = secrets.token_hex(8)
        with held.held(self._work, name, make=_make_private, remove=remove_tree) as place:
            yield place

    def manifest(self, volume: str, snapshot: str) -> Path | None:
        """Return the manifest of a state; None when it is not known here."""
        if not snapshot:
            return None
        path = self._of(volume) / check_snapshot_id(snapshot)
        if not path.exists():
            return None
        if _is_whole(path):
            return path
        log.warning("%s is damaged: the next copy is a full one", path)
        for entry in (path, _sum_of(path)):
            remove_anything(entry)
        return None

    def keep(self, volume: str, snapshot: str, manifest: Path) -> None:
        """Take a manifest in, and forget the oldest of too many."""
        place = self._of(volume)
        make_directory(place)
        path = place / check_snapshot_id(snapshot)
        # Before the manifest: one without a sum is of an older version, and believed.
        write_atomically(_sum_of(path), _sha256(manifest), is_durable=False)
        take_place(manifest, path)
        known = sorted(place.glob("snp_*"), key=lambda entry: entry.lstat().st_mtime_ns)
        for old in known[:-_MANIFESTS]:
            remove_anything(old)
            remove_anything(_sum_of(old))

    def loaded(self, volume: str) -> str:
        """Return the snapshot whose state the volume is at exactly; "" when that is not known."""
        try:
            return check_snapshot_id((self._of(volume) / "loaded").read_text())
        except (OSError, ValueError, SpecInvalidError):  # not there, or damaged
            return ""

    def is_at(self, volume: str, snapshot: str) -> None:
        """The volume is at that state from now on."""
        place = self._of(volume)
        make_directory(place)
        write_atomically(place / "loaded", snapshot)

    def begin_to_run(self, volume: str) -> None:
        """From now on the volume may be at no snapshot's state any more. Survives a power cut."""
        mark = self._of(volume) / "loaded"
        if mark.exists() or mark.is_symlink():
            remove_anything(mark)
            sync_directory(mark.parent)

    def directory(self, volume: str) -> tuple[str, str, str]:
        """Return the directory these notes are of; another one that a copy named, and which copy.

        Each is "" when it is not known (runtime/volume/identity.py).
        """
        try:
            parts = (self._of(volume) / "directory").read_text().splitlines()
        except (OSError, ValueError):  # not there, or damaged
            return "", "", ""
        before, other, by = (*parts, "", "", "")[:3]
        return before, other, by

    def note_directory(self, volume: str, directory: str, *, other: str = "", by: str = "") -> None:
        """Write down what `directory` says."""
        if self.directory(volume) == (directory, other, by):
            return
        place = self._of(volume)
        make_directory(place)
        write_atomically(place / "directory", f"{directory}\n{other}\n{by}\n", is_durable=False)

    def loads_for(self, instance_id: str, volume: str) -> None:
        """The volume is about to be loaded for an instance, which may never come to run here."""
        make_directory(self._for)
        write_atomically(self._for / check_instance_id(instance_id), volume)

    def loaded_for(self, instance_id: str) -> str:
        """Return the volume that was loaded for the instance; "" when none was."""
        try:
            return check_slug((self._for / check_instance_id(instance_id)).read_text())
        except (OSError, ValueError, SpecInvalidError):
            return ""

    def forget_instance(self, instance_id: str) -> None:
        """The instance is gone."""
        remove_anything(self._for / check_instance_id(instance_id))

    def forget(self, volume: str) -> None:
        """The volume is gone."""
        with suppress(OSError):
            remove_anything(self._of(volume))

    def _of(self, volume: str) -> Path:
        return self._top / check_slug(volume)


def _sum_of(manifest: Path) -> Path:
    return manifest.with_name(f"sum.{manifest.name}")


def _is_whole(manifest: Path) -> bool:
    """Return whether it is what was written: a difference to a state that is half known would be wrong."""
    try:
        if _sum_of(manifest).is_symlink() or _sum_of(manifest).exists():
            return _sum_of(manifest).read_text() == _sha256(manifest)
        with manifest.open("rb") as file:
            read_manifest(file)
    except (OSError, ValueError, HostError):
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_private(path: Path) -> None:
    path.mkdir(mode=0o700)
