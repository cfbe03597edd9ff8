"""Volumes of a host without containers, on a file system that enforces nothing and on one with snapshots."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.disk import Spaces, loop
from runtime.units import MIB
from runtime.volume.capture import Stillness
from runtime.volume.keeping import SnapshotNotes
from runtime.volume.transfer import ArchiveClient
from runtime.volume.volumes import Volumes
from runtime.volume_requests import VolumeLoad, VolumePart, VolumeSave, VolumeSaved
from tests.runtime.hosts import lack_of_store
from tests.runtime.shelves import Shelf, shelf

NOBODY = Stillness((), lambda _one, _seconds: None, lambda _one: True)


@dataclass
class Place:
    """One host's volumes; saved and loaded against a shelf."""

    state_dir: Path
    shelf: Shelf
    stillness: Stillness = NOBODY
    chain: list[VolumeSaved] = field(default_factory=list)
    count: int = 0
    ceiling: int = 64 * MIB

    @property
    def spaces(self) -> Spaces:
        return Spaces(self.state_dir)

    @property
    def volumes(self) -> Volumes:
        return Volumes(SnapshotNotes(self.state_dir), self.spaces, ArchiveClient())

    def volume(self, name: str = "acme") -> Path:
        """The volume, made where it is not there yet."""
        self.spaces.ensure(
            "ins_test000000", name, ceiling=self.ceiling, owner=(1000, 1000), is_new=True
        )
        return self.spaces.volume(name)

    def save(self, *, is_full: bool = False) -> VolumeSaved:
        """Put `acme` away as a difference to what was put away last."""
        self.count += 1
        snapshot = f"snp_{self.count:08d}"
        base = self.chain[-1].snapshot if self.chain and not is_full else ""
        saved = self.volumes.save(
            VolumeSave("acme", snapshot, base, self.shelf.address(snapshot)), self.stillness
        )
        if not saved.unchanged:
            if not saved.base:
                self.chain.clear()
            self.chain.append(saved)
        return saved

    def begin_to_run(self, name: str) -> None:
        """Somebody writes to the volume from now on."""
        SnapshotNotes(self.state_dir).begin_to_run(name)

    def parts(self) -> tuple[VolumePart, ...]:
        return tuple(self.shelf.part(saved) for saved in self.chain)

    def load(self, name: str = "copy") -> Path:
        """Fetch what was put away into another volume."""
        parts = self.parts()
        self.volumes.load(VolumeLoad("ins_test000001", name, parts, self.ceiling, 0, 0))
        return self.spaces.volume(name)


@pytest.fixture(params=["measured", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    state_dir = tmp_path / "host"
    state_dir.mkdir(mode=0o700)
    if request.param == "store":
        if lack := lack_of_store():
            pytest.skip(lack)
        loop.ensure(state_dir, 512 * MIB)
    with shelf() as there:
        yield Place(state_dir, there)
    loop.release(state_dir)
