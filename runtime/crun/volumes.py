"""A host's volumes put away and fetched: who writes to one, and how they are made to stand still."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock

from runtime.bundle import InstanceRecord
from runtime.config import HostConfig
from runtime.crun.records import Records
from runtime.disk import Spaces, loop
from runtime.errors import InputError
from runtime.keeper.client import KeeperClient
from runtime.specs import VolumeFate
from runtime.volume import capture
from runtime.volume.capture import Stillness
from runtime.volume.keeping import SnapshotNotes
from runtime.volume.transfer import ArchiveClient
from runtime.volume.volumes import Volumes
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved

# Of the keeper's phases those in which a container is there to change its volume.
_ALIVE = frozenset({"running", "stopping"})


class VolumesHere:
    """What CrunDriver knows beside the data: the containers. lock_of: the lock of an instance."""

    def __init__(
        self,
        config: HostConfig,
        spaces: Spaces,
        records: Records,
        keeper: KeeperClient,
        lock_of: Callable[[str], RLock],
    ) -> None:
        self._records = records
        self._keeper = keeper
        self._lock_of = lock_of
        self._spaces = spaces
        self._keeping = SnapshotNotes(config.state_dir)
        carrier = ArchiveClient(config.images.control_url, config.images.control_ca)
        self._volumes = Volumes(self._keeping, spaces, carrier)
        self._keeping.sweep()
        capture.sweep(loop.mount_point(config.state_dir))

    def save(self, save: VolumeSave) -> VolumeSaved:
        """See Driver.save_volume."""
        users = self._records.users_of(save.volume)
        for instance_id, record in users.items():
            # What is gone while it runs, its own tenant has removed: that is not missing.
            if self._phase(instance_id) in _ALIVE:
                self._spaces.note_content(save.volume)
                self._spaces.note_places(save.volume, record.program.volumes)
        if capture.is_subvolume(self._spaces.find(save.volume).parent):
            return self._volumes.save(save, Stillness((), self._freeze, self._thaw))
        # Copied in parts: nobody may start or stop meanwhile.
        with self._locked(users):
            running = [instance_id for instance_id in users if self._runs(instance_id)]
            return self._volumes.save(save, Stillness(running, self._freeze, self._thaw))

    def load(self, load: VolumeLoad) -> VolumeLoaded:
        """See Driver.load_volume; the caller holds the instance's lock."""
        for instance_id in self._records.users_of(load.volume):
            if self._runs(instance_id):
                raise InputError(
                    f"volume {load.volume} is in use by a container that runs here; stop it first",
                    instance_id=instance_id,
                )
        self._keeping.loads_for(load.instance_id, load.volume)
        return self._volumes.load(load)

    def begin_to_run(self, volume: str) -> None:
        """A container is about to write to the volume."""
        if volume:
            self._keeping.begin_to_run(volume)

    def remove(self, instance_id: str, record: InstanceRecord | None, fate: VolumeFate) -> None:
        """Clear the space of an instance that is gone, and the volume, also one it never came to run with."""
        if record:
            volume = record.spec.volume
        else:  # it never ran here, or its record is damaged
            volume = self._keeping.loaded_for(instance_id)
            volume = volume or self._spaces.volume_beside(instance_id)
        if record or volume:
            self._spaces.remove(instance_id, volume, with_volume=fate is VolumeFate.DELETE)
        if volume and fate is VolumeFate.DELETE:
            self._keeping.forget(volume)
        self._keeping.forget_instance(instance_id)

    def _runs(self, instance_id: str) -> bool:
        return self._phase(instance_id) != "ended"

    def _phase(self, instance_id: str) -> str:
        shown = self._keeper.status(instance_id).get(instance_id, {})
        return str(shown.get("phase", "ended"))

    def _freeze(self, instance_id: str, seconds: float) -> None:
        self._keeper.ask("freeze", id=instance_id, seconds=seconds)

    def _thaw(self, instance_id: str) -> bool:
        return bool(self._keeper.ask("thaw", id=instance_id)["held"])

    @contextmanager
    def _locked(self, instances: Iterable[str]) -> Iterator[None]:
        with ExitStack() as stack:
            for instance_id in instances:
                stack.enter_context(self._lock_of(instance_id))
            yield
