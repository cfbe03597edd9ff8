"""Where an instance's layer and its tenant's volume lie, and the limit over both together.

store/<space>/data                   the tenant's volume
store/<space>/<instance id>/upper    the instance's writable layer; work beside it is overlayfs' own

A space is named by the volume, or by the instance where there is none. Where the file system can
enforce nothing there is no store/: volumes lie in volumes/ and layers in instances/, as they did
before there were stores, and what lies there from that time goes on being used from there.
"""

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.disk import loop, marks, seeds
from runtime.disk.grants import LEAST_BYTES, next_limit
from runtime.disk.quota import Measured, Quota, detect
from runtime.errors import DataMissingError, HostError, HostUnfitError, InputError
from runtime.ids import check_instance_id, check_slug
from runtime.system.trees import disk_bytes, remove_tree, sync_directory

# There since the volumes that were here before there were marks have got theirs.
_ALL_MARKED = "volumes-marked"


@dataclass(frozen=True, slots=True)
class WritableLayer:
    """An instance's writable layer: two directories on one file system."""

    root: Path

    @property
    def upper(self) -> Path:
        return self.root / "upper"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def exists(self) -> bool:
        """Return whether something was ever written there."""
        return self.upper.exists() or self.work.exists()

    def make(self, *, owner: int) -> None:
        """Make both directories, the upper one owned by that id; no-op if they are there."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        if not self.upper.exists():
            self.upper.mkdir(mode=0o755)
            os.chown(self.upper, owner, owner)
        self.work.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Remove what was written; no-op if there is nothing."""
        for path in (self.upper, self.work):
            remove_tree(path)


class Spaces:
    """The spaces of one host. Holds nothing in memory that is not on disk."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._top = loop.mount_point(state_dir)
        self._quota: Quota = Measured(self._top)

    @property
    def quota(self) -> Quota:
        """Return how limits are enforced here. Raises HostUnfitError if there is a store that is not
        mounted.
        """
        loop.check_mounted(self._state_dir)
        # A store may be mounted while the agent runs; asked again until there is one.
        if not self._quota.enforces and self._top.is_dir():
            self._quota = detect(self._top)
        return self._quota

    # Where things lie --------------------------------------------------------------------------

    def volume(self, name: str) -> Path:
        """Return where a volume lies, or would lie."""
        plain = self._plain_volume(name)
        if not self.quota.enforces or plain.exists():
            return plain
        return self._top / check_slug(name) / "data"

    def find(self, name: str) -> Path:
        """Return where a volume lies that is to be used. Raises DataMissingError if it is not here as it
        was known.

        The one way to a volume for everybody who starts, copies or compares: none of them makes one.
        """
        try:
            path = self.volume(name)
            self._mark_older()
        except HostUnfitError as error:
            raise DataMissingError(f"volume {name}: {error.message}") from error
        marks.check(path, name)
        return path

    def holds(self, name: str) -> bool:
        """Return whether the volume is here as it was known."""
        try:
            self.find(name)
        except DataMissingError:
            return False
        return True

    def know(self, name: str) -> Path:
        """Take what lies where the volume belongs for the volume: somebody has looked."""
        path = self.volume(name)
        if not path.is_dir() or path.is_symlink():
            raise DataMissingError(f"volume {name}: {path} is not there")
        self._mark_older()
        marks.write(path, name)
        return path

    def note_content(self, name: str) -> None:
        """Remember whether the volume holds anything; called when its shop is well, and when it ends."""
        if not name:
            return
        with suppress(HostUnfitError):
            marks.note_content(self.volume(name), name)

    def note_places(self, name: str, paths: Collection[str]) -> None:
        """Remember which of an image's directories have a place in the volume; called once they are made,
        while its shop runs, and when it ends.
        """
        if not name:
            return
        with suppress(HostUnfitError):
            marks.note_places(self.volume(name), name, [seeds.place_of(path) for path in paths])

    def _mark_older(self) -> None:
        """Once in the life of a host: what lies here from before there were marks is known.

        Called before any mark is written. So where one volume has its mark this was done, whatever became
        of our note of it: a directory without one came later, and nobody knows what it is.
        """
        done = self._state_dir / _ALL_MARKED
        if os.path.lexists(done):
            return
        # One that was moved aside tells it too, under whatever name.
        all_here = (*self._state_dir.glob("volumes/*"), *self._top.glob("*/*"))
        if not any(map(marks.is_marked, all_here)):
            for name in self.volumes():
                if (path := self._place_of(name)) is not None:
                    marks.write_older(path, name)
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        done.touch()
        sync_directory(self._state_dir)

    def layer(self, instance_id: str, volume: str) -> WritableLayer:
        """Return where the layer of an instance lies, or would lie."""
        plain = self._plain_layer(instance_id)
        if not self.quota.enforces or plain.exists():
            return plain
        return WritableLayer(
            self._top / space_of(instance_id, volume) / check_instance_id(instance_id)
        )

    def volumes(self) -> tuple[str, ...]:
        """Return the names of all volumes on this host, in order."""
        found = {entry.name for entry in _entries(self._state_dir / "volumes")}
        if self.quota.enforces:
            found |= {entry.name for entry in _entries(self._top) if (entry / "data").is_dir()}
        return tuple(sorted(found))

    def volume_beside(self, instance_id: str) -> str:
        """Return the volume whose space has an instance's layer, "" when none has; for one whose record is
        lost.
        """
        if not self.quota.enforces:
            return ""
        found = self._top.glob(f"*/{check_instance_id(instance_id)}")
        return next((path.parent.name for path in found if path.parent.name != instance_id), "")

    # Making and removing -----------------------------------------------------------------------

    def ensure(
        self,
        instance_id: str,
        volume: str,
        *,
        ceiling: int,
        owner: tuple[int, int],
        is_new: bool = False,
        rootfs: Path | None = None,
    ) -> None:
        """Make the space with its limit in force; and the volume where there is none and it is new.
        DataMissingError when it is not here and not new.

        owner: uid and gid of the image's user, who gets a new volume. rootfs: the image's directory; what
        it has below /data, a new volume begins with.
        """
        self.check(volume, is_new=is_new)
        if self.quota.enforces:
            self.quota.make(space_of(instance_id, volume))
            self.limit(instance_id, volume, ceiling)
        if not volume or self.holds(volume):
            return
        with self.room_for_us(instance_id, volume):
            self.set_aside(volume)
            _make_volume(self.volume(volume), volume, owner, rootfs)

    def check(self, volume: str, *, is_new: bool) -> None:
        """DataMissingError unless a shop may start with the volume, "" for none; nothing is made."""
        if not volume:
            return
        if not is_new:
            self.find(volume)
            return
        # The store must be there; what lies in the volume's place is set aside where it is not the volume.
        self.volume(volume)
        self._mark_older()

    def set_aside(self, name: str) -> None:
        """Put what lies in a volume's place, and is not the volume, beside it; no-op if nothing does."""
        path = self.volume(name)
        if os.path.lexists(path) and not self.holds(name):
            path.rename(path.with_name(f".{path.name}.aside-{secrets.token_hex(4)}"))

    def prepare_layer(
        self, instance_id: str, volume: str, *, owner: int, fresh: bool
    ) -> WritableLayer:
        """Make the layer; fresh throws away what an earlier container wrote into its own."""
        if fresh:
            self._plain_layer(instance_id).remove()
        layer = self.layer(instance_id, volume)
        if fresh:
            layer.remove()
        if layer != self._plain_layer(instance_id):
            self.quota.make(space_of(instance_id, volume))
        layer.make(owner=owner)
        return layer

    @contextmanager
    def room_for_loading(self, instance_id: str, volume: str) -> Iterator[Path]:
        """A place beside a volume for its next state, both within the space; gone afterwards.

        There is no limit over the two together; the code that fills the place keeps to the volume's own.
        """
        self._mark_older()
        if self.quota.enforces:
            self.quota.make(space_of(instance_id, volume))
        path = self.volume(volume)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.load")
        try:
            with self._unlimited(space_of(instance_id, volume)):
                yield beside
        finally:
            remove_tree(beside)

    def remove(self, instance_id: str, volume: str, *, with_volume: bool) -> None:
        """Delete the layer, and the volume with all it holds where that is meant; idempotent."""
        self._plain_layer(instance_id).remove()
        if volume and with_volume:
            plain = self._plain_volume(volume)
            for path in (plain, *plain.parent.glob(f".{plain.name}.aside-*")):
                remove_tree(path)
        if not self.quota.enforces:
            return
        if with_volume or not volume:
            self.quota.remove(space_of(instance_id, volume))
        elif (layer := self.layer(instance_id, volume)).root.exists():
            with self.room_for_us(instance_id, volume):
                remove_tree(layer.root)

    # Limits ----------------------------------------------------------------------------------

    def limit(self, instance_id: str, volume: str, ceiling: int) -> None:
        """Put the limit in force, also while the instance runs; an extra that is due is left in force."""
        name = space_of(instance_id, volume)
        if not self.quota.enforces or not (self._top / name).exists():
            return
        current = self.quota.limit_of(name)
        wanted = next_limit(self.quota.used(name), ceiling, current)
        if wanted != current:
            self.quota.limit(name, wanted)

    @contextmanager
    def room_for_us(self, instance_id: str, volume: str) -> Iterator[None]:
        """Lift the limit for the few blocks a start or a removal needs, where the space is full.

        Whoever is killed in here leaves no limit; the next sampling pass puts it back (`limit`).
        """
        name = space_of(instance_id, volume)
        if self._limit_if_full(name) is None:
            yield
            return
        with self._unlimited(name):
            yield

    @contextmanager
    def _unlimited(self, name: str) -> Iterator[None]:
        is_here = self.quota.enforces and (self._top / name).exists()
        limit = self.quota.limit_of(name) if is_here else None
        if limit is None:
            yield
            return
        self.quota.limit(name, None)
        try:
            yield
        finally:
            if (self._top / name).exists():
                self.quota.limit(name, limit)

    def _limit_if_full(self, name: str) -> int | None:
        if not self.quota.enforces or not (self._top / name).exists():
            return None
        limit = self.quota.limit_of(name)
        if limit is None or self.quota.used(name) + LEAST_BYTES <= limit:
            return None
        return limit

    # Measuring ---------------------------------------------------------------------------------

    def usage(self) -> dict[str, int]:
        """Return the bytes of each space in the store, by name, in one fast pass; {} where nothing
        enforces.
        """
        return self.quota.usage() if self.quota.enforces else {}

    def is_plain(self, instance_id: str, volume: str) -> bool:
        """Return whether some of what the instance wrote lies outside the store."""
        if not self.quota.enforces or self._plain_layer(instance_id).exists():
            return True
        return bool(volume) and self._plain_volume(volume).exists()

    def plain_bytes(self, instance_id: str, volume: str) -> int:
        """Return an instance's bytes outside the store, walked file by file: log, record, old layouts."""
        amount = disk_bytes(self._state_dir / "instances" / check_instance_id(instance_id))
        return amount + (disk_bytes(self._plain_volume(volume)) if volume else 0)

    # Small parts -------------------------------------------------------------------------------

    def _place_of(self, name: str) -> Path | None:
        """Return where an entry of that name lies among the volumes; None if it cannot be a volume."""
        try:
            path = self.volume(name)
        except InputError:
            return None
        return path if path.is_dir() and not path.is_symlink() else None

    def _plain_volume(self, name: str) -> Path:
        return self._state_dir / "volumes" / check_slug(name)

    def _plain_layer(self, instance_id: str) -> WritableLayer:
        return WritableLayer(self._state_dir / "instances" / check_instance_id(instance_id))


def space_of(instance_id: str, volume: str) -> str:
    """Return the name of an instance's space."""
    return check_slug(volume) if volume else check_instance_id(instance_id)


def _make_volume(path: Path, name: str, owner: tuple[int, int], rootfs: Path | None) -> None:
    # The space's own directory is there; of a plain volume the one for all may not be.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.mkdir(mode=0o755, exist_ok=True)
    if rootfs:
        seeds.copy(rootfs, "/data", beside)
    beside.chmod(0o755)
    os.chown(beside, *owner)
    marks.write(beside, name)
    try:
        beside.replace(path)  # never seen half made
    except OSError as error:
        raise HostError(f"the volume {path} cannot be made: {error}") from error


def _entries(top: Path) -> list[Path]:
    try:
        return [entry for entry in top.iterdir() if entry.name[0] != "."]
    except FileNotFoundError:
        return []
