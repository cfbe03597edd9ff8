"""The methods of a host: what control may ask its agent for. See common/methods.py."""

from dataclasses import dataclass, field, replace
from typing import Self

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest, check_instance_id, check_slug
from runtime.specs import InstanceSpec, VolumeFate
from runtime.statuses import ExecResult, ImageStatus, InstanceStatus
from runtime.units import Sample
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved
from runtime.wire import LATER
from workers.agents.common.methods import Args, Method, always, table

# tenants/operations/time_limits.py makes an operation's deadline of the same times; neither room may import
# the other.
LOOK_SECONDS = 5.0  # calls that only read
SPARE_SECONDS = 10.0  # what a host may need beside the time that was asked for
COLLECT_SECONDS = 120.0  # a host that removes images
ADOPT_SECONDS = 60.0  # a host that may have many shops to end
FETCH_SECONDS = 600.0  # a host that gets an image
VOLUME_SECONDS = 1800.0  # a host that copies a volume off, or loads a copy
MOST_LOG_LINES = 10_000
_ANSWER_SECONDS = 1.0  # of a run limit, for everything but the waiting


@dataclass(frozen=True, slots=True)
class EnsureRunning(Args):
    """See Driver.ensure_running."""

    spec: InstanceSpec

    def check(self) -> None:
        """Refuse a spec that cannot be run."""
        self.spec.check()

    def within(self, run_limit: float) -> Self:
        """Return the same; SpecInvalidError for too short a limit.

        The spec is not shortened: another spec would replace a container that runs well.
        """
        if self.spec.health_timeout_seconds > run_limit:
            raise SpecInvalidError(
                f"run_limit is {run_limit:g} s; it must be at least the spec's "
                f"health_timeout_seconds of {self.spec.health_timeout_seconds:g}",
                field="run_limit",
            )
        return self


@dataclass(frozen=True, slots=True)
class OfInstance(Args):
    """What is about one instance."""

    instance_id: str

    def check(self) -> None:
        """Refuse an id that is none."""
        check_instance_id(self.instance_id)


@dataclass(frozen=True, slots=True)
class EnsureStopped(OfInstance):
    """See Driver.ensure_stopped."""

    grace_seconds: float

    def within(self, run_limit: float) -> Self:
        """Return the same with a grace that ends in time."""
        return replace(self, grace_seconds=_cut(self.grace_seconds, run_limit))


@dataclass(frozen=True, slots=True)
class EnsureAbsent(EnsureStopped):
    """See Driver.ensure_absent."""

    volume: VolumeFate


@dataclass(frozen=True, slots=True)
class Logs(OfInstance):
    """See Driver.logs."""

    lines: int

    def check(self) -> None:
        """Refuse more lines than an answer may have."""
        check_instance_id(self.instance_id)
        if not 1 <= self.lines <= MOST_LOG_LINES:
            raise SpecInvalidError(
                f"lines is {self.lines}; it must be 1 to {MOST_LOG_LINES}", field="lines"
            )


@dataclass(frozen=True, slots=True)
class Exec(OfInstance):
    """See Driver.exec."""

    argv: tuple[str, ...]
    timeout_seconds: float

    def check(self) -> None:
        """Refuse to run nothing."""
        check_instance_id(self.instance_id)
        if not self.argv:
            raise SpecInvalidError("argv is empty; it must name a program", field="argv")

    def within(self, run_limit: float) -> Self:
        """Return the same with a timeout that ends in time."""
        return replace(self, timeout_seconds=_cut(self.timeout_seconds, run_limit))


@dataclass(frozen=True, slots=True)
class EnsureImage(Args):
    """See Driver.ensure_image."""

    digest: str
    source: str

    def check(self) -> None:
        """Refuse a digest that is none."""
        check_digest(self.digest)


@dataclass(frozen=True, slots=True)
class CollectImages(Args):
    """See Driver.collect_images."""

    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaveVolume(Args):
    """See Driver.save_volume."""

    save: VolumeSave


@dataclass(frozen=True, slots=True)
class LoadVolume(Args):
    """See Driver.load_volume."""

    load: VolumeLoad


@dataclass(frozen=True, slots=True)
class WhichVolumes(Args):
    """See Driver.volumes_here."""

    names: tuple[str, ...]

    def check(self) -> None:
        """Refuse names that could leave the directory of volumes."""
        for name in self.names:
            check_slug(name)


@dataclass(frozen=True, slots=True)
class Adopt(Args):
    """Stop all instances but `keep`, then know the epoch. delete: those whose data goes too."""

    epoch: int
    keep: tuple[str, ...]
    delete: tuple[str, ...] = field(default=(), metadata=LATER)

    def check(self) -> None:
        """Refuse an epoch that no host has, and ids that are none."""
        if self.epoch < 1:
            raise SpecInvalidError(f"epoch is {self.epoch}; it must be 1 or more", field="epoch")
        for instance_id in (*self.keep, *self.delete):
            check_instance_id(instance_id)


@dataclass(frozen=True, slots=True)
class Adopted:
    """Which instances were stopped."""

    stopped: tuple[str, ...]


ENSURE_RUNNING = Method(
    "ensure_running",
    EnsureRunning,
    InstanceStatus,
    lambda args: args.spec.health_timeout_seconds + SPARE_SECONDS,
    is_fenced=True,
)
ENSURE_STOPPED = Method(
    "ensure_stopped",
    EnsureStopped,
    InstanceStatus,
    lambda args: args.grace_seconds + SPARE_SECONDS,
    is_fenced=True,
)
ENSURE_ABSENT = Method(
    "ensure_absent",
    EnsureAbsent,
    type(None),
    lambda args: args.grace_seconds + SPARE_SECONDS,
    is_fenced=True,
)
STATUS = Method("status", OfInstance, InstanceStatus, always(LOOK_SECONDS))
LIST = Method("list", Args, tuple[InstanceStatus, ...], always(LOOK_SECONDS))
LOGS = Method("logs", Logs, tuple[str, ...], always(LOOK_SECONDS))
SAMPLES = Method("samples", Args, tuple[Sample, ...], always(SPARE_SECONDS))
IMAGES = Method("images", Args, tuple[ImageStatus, ...], always(LOOK_SECONDS))
ENSURE_IMAGE = Method("ensure_image", EnsureImage, ImageStatus, always(FETCH_SECONDS))
COLLECT_IMAGES = Method("collect_images", CollectImages, tuple[str, ...], always(COLLECT_SECONDS))
EXEC = Method("exec", Exec, ExecResult, lambda args: args.timeout_seconds + SPARE_SECONDS)
SAVE_VOLUME = Method("save_volume", SaveVolume, VolumeSaved, always(VOLUME_SECONDS))
LOAD_VOLUME = Method(
    "load_volume", LoadVolume, VolumeLoaded, always(VOLUME_SECONDS), is_fenced=True
)
VOLUMES_HERE = Method("volumes_here", WhichVolumes, tuple[str, ...], always(LOOK_SECONDS))
# Not fenced: it is what makes a host believe the epoch of the fences that come after it.
ADOPT = Method("adopt", Adopt, Adopted, always(ADOPT_SECONDS))

# All but `adopt` are methods of Driver, called with their arguments by name.
OF_HOSTS = table(
    ENSURE_RUNNING,
    ENSURE_STOPPED,
    ENSURE_ABSENT,
    ADOPT,
    STATUS,
    LIST,
    LOGS,
    SAMPLES,
    IMAGES,
    ENSURE_IMAGE,
    COLLECT_IMAGES,
    EXEC,
    SAVE_VOLUME,
    LOAD_VOLUME,
    VOLUMES_HERE,
)


def _cut(seconds: float, run_limit: float) -> float:
    if seconds < 0:
        raise SpecInvalidError(
            f"a time of {seconds:g} s was given; it must be 0 or more", field="args"
        )
    return min(seconds, max(0.0, run_limit - _ANSWER_SECONDS))
