"""What the control plane may ask of a host, whatever engine runs its containers.

A driver promises end states: every `ensure_*` may be repeated. One promise suite
(tests/runtime/promises/) runs against every driver.
"""

from typing import Protocol

from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ExecResult, ImageStatus, InstanceStatus
from runtime.units import Sample
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved


class Driver(Protocol):
    """One host, as control flows see it. All raise RuntimeCoreError subclasses (runtime/errors.py)."""

    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        """Run exactly one container for the spec and return once it is healthy.

        A container that already runs with an equal spec is left alone. One whose spec differs only in
        limits or internet is given them while it runs (LimitInUseError when it uses more memory
        than that; then nothing changes). Any other spec replaces it.
        DataMissingError, with nothing touched, when the spec's volume is not here and is not a new one.
        """
        ...

    def ensure_stopped(
        self, instance_id: str, *, fence: Fence, grace_seconds: float = 10.0
    ) -> InstanceStatus:
        """End the container (TERM, after the grace KILL); keep bundle, volume and published port."""
        ...

    def ensure_absent(
        self, instance_id: str, *, fence: Fence, volume: VolumeFate, grace_seconds: float = 10.0
    ) -> None:
        """Leave nothing of the instance but a tombstone of its fence; no-op if it never was.

        The volume is the one it ran with, or one that was loaded for it although it never ran.
        """
        ...

    def status(self, instance_id: str) -> InstanceStatus:
        """Return the status of one instance; state ABSENT if nothing is known of it."""
        ...

    def list(self) -> tuple[InstanceStatus, ...]:
        """Return every instance this host holds, running or not, ordered by id."""
        ...

    def logs(self, instance_id: str, *, lines: int = 100) -> tuple[str, ...]:
        """Return the newest lines of stdout and stderr, oldest first, each `<RFC 3339 time> <out|err>
        <text>`.
        """
        ...

    def samples(self) -> tuple[Sample, ...]:
        """Return one usage sample of every running instance, in one pass."""
        ...

    def images(self) -> tuple[ImageStatus, ...]:
        """Return the images in this host's store."""
        ...

    def ensure_image(self, digest: str, source: str = "") -> ImageStatus:
        """Have the image in this host's store, fetched from `source` when it is not there yet.

        source: a reference to a registry, or "" for the control plane. The digest decides what is taken.
        ensure_running does the same; this is for having it earlier.
        """
        ...

    def collect_images(self, keep: tuple[str, ...]) -> tuple[str, ...]:
        """Remove the images that nobody needs and return their digests.

        Kept are those of `keep`, those of any instance here, running or not, and those somebody asked
        for within the last hour.
        """
        ...

    def exec(
        self, instance_id: str, argv: tuple[str, ...], *, timeout_seconds: float = 30.0
    ) -> ExecResult:
        """Run a command inside a running container."""
        ...

    def save_volume(self, save: VolumeSave) -> VolumeSaved:
        """Put a volume's present state away, consistent although its tenant keeps writing.

        Works for a stopped instance as well. Repeating with the same snapshot id is harmless: what is put
        away then is the state of the last call. DataMissingError when the volume is not here, or is
        not what it was.
        """
        ...

    def volumes_here(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the named volumes that are here and unchanged; shops could start with them."""
        ...

    def load_volume(self, load: VolumeLoad, *, fence: Fence) -> VolumeLoaded:
        """Make the volume be exactly the state at the end of the chain, or leave it as it was.

        InputError while a container with that volume runs here. A volume that is already at one of the
        chain's states, and was not run since, gets only the rest. Nothing is believed before its sha256.
        """
        ...
