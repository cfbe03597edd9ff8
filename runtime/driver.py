"""What the control plane may ask of a host, whatever engine runs its containers.

A driver promises end states: every `ensure_*` may be repeated. One promise suite
(tests/runtime/promises.py) runs against every driver.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest, check_instance_id, check_slug, check_snapshot_id
from runtime.units import Limits, Sample
from runtime.wire import LATER

# The longest chain a host takes: a full state and the differences after it.
CHAIN_LIMIT = 64
_ADDRESS_LIMIT = 4096

# The kernel takes 128 KiB for one variable; more than this is no setting but a file.
ENV_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """Who may still act on an instance: the host's epoch, then the operation's claim number.

    A host remembers the highest fence it saw per instance and refuses lower ones (StaleFenceError).
    """

    epoch: int
    number: int


class VolumeFate(StrEnum):
    """What becomes of an instance's volume when the instance leaves a host."""

    KEEP = "keep"
    DELETE = "delete"


class DiskState(StrEnum):
    """How close an instance is to its disk limit."""

    OK = "ok"
    NEAR = "near"
    OVER = "over"


class ContainerState(StrEnum):
    """What a host sees of an instance."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


class TroubleKind(StrEnum):
    """What a host may find wrong with one of its instances.

    DAMAGED: what the host keeps of it cannot be read. NOT_ANSWERING: it gives visitors no answer.
    UNPLUGGED: its network was taken away. NO_LIMITS: it ran outside its cgroup. CANNOT_END: one of its
    processes does not die.
    """

    DAMAGED = "damaged"
    NOT_ANSWERING = "not_answering"
    UNPLUGGED = "unplugged"
    NO_LIMITS = "no_ceilings"
    CANNOT_END = "cannot_end"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong with an instance, or was a moment ago. The message has no ages in it.

    wants_start: a start by control's own record (ensure_running) would mend it, and nothing else does.
    """

    kind: TroubleKind
    message: str
    wants_start: bool = False


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """Everything a host needs to run an instance; it never has to ask back.

    image_digest: manifest digest; image_source: where to get it when the host lacks it ("" = nowhere).
    published_port: host port that leads to container_port, chosen by control, kept over reboots.
    volume: name of the tenant's volume mounted at /data, or "" for none.
    new_volume: the volume may be made where there is none: this shop never had data. Never kept on disk.
    health_path: path that must answer 200 within health_timeout_seconds, or "" to wait for the port alone.
    writable_root: False leaves only /tmp, /dev/shm and the volume to write to.
    internet: False lets it answer requests but open no connection to the outside.
    """

    instance_id: str
    tenant: str
    image_digest: str
    published_port: int
    ceilings: Limits
    container_port: int = 8000
    env: tuple[tuple[str, str], ...] = ()
    volume: str = ""
    health_path: str = "/healthz"
    health_timeout_seconds: float = 20.0
    image_source: str = ""
    # Younger than the first agents: left out of messages and records while it is the default.
    writable_root: bool = field(default=True, metadata=LATER)
    internet: bool = field(default=True, metadata=LATER)
    new_volume: bool = field(default=False, metadata=LATER)

    def check(self) -> None:
        """Refuse a spec that cannot be run, before anything is touched (SpecInvalidError)."""
        check_instance_id(self.instance_id)
        check_slug(self.tenant)
        check_digest(self.image_digest)
        for name, port in (
            ("published_port", self.published_port),
            ("container_port", self.container_port),
        ):
            if not 1 <= port <= 65535:
                raise SpecInvalidError(f"{name} is {port}; it must be 1 to 65535", field=name)
        if self.volume:
            check_slug(self.volume)
        if self.health_path and not self.health_path.startswith("/"):
            raise SpecInvalidError(
                f"health_path is {self.health_path!r}; it must start with /", field="health_path"
            )
        self.ceilings.check()
        size = sum(len(key.encode()) + len(value.encode()) + 2 for key, value in self.env)
        if size > ENV_BYTES:
            raise SpecInvalidError(
                f"env is {size} bytes; it must be at most {ENV_BYTES}: put large values in a file",
                field="env",
            )
        for key, value in self.env:
            if not key or "=" in key or "\0" in key + value:
                raise SpecInvalidError(
                    f"env {key!r} is not a usable variable name or value", field="env"
                )


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """What a host knows of one instance.

    address is the container's own IP on the host. restarts counts keeper restarts since ensure_running.
    exit_code is that of the last end by the shell's convention (128 + signal), or None while it never
    ended. age_seconds: for how long it has been running, or since when it is at an end. timings_ms names
    the parts of the last start (for example bundle, network, container, health). oom_kills: processes the
    kernel ended for want of memory since ensure_running, over all restarts. crash_looping: it ended again
    and again and is now started with growing pauses. last_lines: what it logged last before its last end
    (at most 10 lines, 2 KiB), newest last. troubles: what is wrong with it beyond its own program's ends;
    also what was just mended.
    """

    instance_id: str
    state: ContainerState
    tenant: str = ""
    healthy: bool = False
    pid: int = 0
    address: str = ""
    published_port: int = 0
    image_digest: str = ""
    fence: Fence = Fence(0, 0)
    restarts: int = 0
    exit_code: int | None = None
    age_seconds: float = 0.0
    timings_ms: dict[str, float] = field(default_factory=dict)
    oom_kills: int = field(default=0, metadata=LATER)
    crash_looping: bool = field(default=False, metadata=LATER)
    last_lines: tuple[str, ...] = field(default=(), metadata=LATER)
    disk: DiskState = field(default=DiskState.OK, metadata=LATER)
    troubles: tuple[Trouble, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """One image in a host's store.

    disk_bytes is what its flat directory occupies; idle_seconds how long nobody has asked for it.
    """

    digest: str
    name: str
    disk_bytes: int
    users: tuple[str, ...] = ()
    idle_seconds: float = field(default=0.0, metadata=LATER)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command inside a container gave back; output holds stdout and stderr, at most 64 KiB."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class VolumeSave:
    """A volume's present state, to be put away off the host under a snapshot's id.

    base: id of the snapshot this one may be a difference to; "" for a full one. put_url: where the
    archive is PUT; it opens this one object, for a while, and nothing else.
    """

    volume: str
    snapshot: str
    base: str
    put_url: str

    def check(self) -> None:
        """Refuse what cannot be carried out (SpecInvalidError)."""
        check_slug(self.volume)
        check_snapshot_id(self.snapshot)
        if self.base:
            check_snapshot_id(self.base, "base")
        if self.base == self.snapshot:
            raise SpecInvalidError(f"base is {self.base}, the snapshot itself", field="base")
        _check_address("put_url", self.put_url)


@dataclass(frozen=True, slots=True)
class VolumeSaved:
    """What was put away.

    base: "" when a full one was made although a difference was asked for. sha256 and archive_bytes are
    the archive's; volume_bytes and files the volume's own. frozen_ms: how long the tenant stood still.
    unchanged: the volume is exactly as it was at base; then nothing was sent, and sha256 is "".
    skipped: entries that no archive takes (sockets, devices, too long a path). is_anew: the volume is not
    the directory that was copied or loaded here before; what that held is not in it.
    """

    snapshot: str
    base: str
    sha256: str
    archive_bytes: int
    volume_bytes: int
    files: int
    frozen_ms: float
    unchanged: bool = field(default=False, metadata=LATER)
    skipped: int = field(default=0, metadata=LATER)
    is_anew: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True, slots=True)
class VolumePart:
    """One archive of a chain, and where to GET it."""

    snapshot: str
    sha256: str
    archive_bytes: int
    get_url: str

    def check(self) -> None:
        """Refuse what cannot be fetched (SpecInvalidError)."""
        check_snapshot_id(self.snapshot)
        check_digest(f"sha256:{self.sha256}")
        if self.archive_bytes <= 0:
            raise SpecInvalidError(
                f"archive_bytes is {self.archive_bytes}; it must be above 0", field="archive_bytes"
            )
        _check_address("get_url", self.get_url)


@dataclass(frozen=True, slots=True)
class VolumeLoad:
    """The state a volume is to have: a full archive first, then the differences, in order.

    uid, gid: who owns the volume where the archives do not say (the image's own user).
    only_missing: leave a volume alone that is there after all: it is as new as any copy, or newer.
    """

    instance_id: str
    volume: str
    chain: tuple[VolumePart, ...]
    ceiling_bytes: int
    uid: int
    gid: int
    only_missing: bool = field(default=False, metadata=LATER)

    def check(self) -> None:
        """Refuse what cannot be carried out (SpecInvalidError)."""
        check_instance_id(self.instance_id)
        check_slug(self.volume)
        if not 1 <= len(self.chain) <= CHAIN_LIMIT:
            raise SpecInvalidError(
                f"chain has {len(self.chain)} archives; it must have 1 to {CHAIN_LIMIT}",
                field="chain",
            )
        for part in self.chain:
            part.check()
        if len({part.snapshot for part in self.chain}) != len(self.chain):
            raise SpecInvalidError("chain names a snapshot twice", field="chain")
        for name, number, most in (
            ("ceiling_bytes", self.ceiling_bytes, 2**62),
            ("uid", self.uid, 65535),
            ("gid", self.gid, 65535),
        ):
            if not 0 <= number <= most:
                raise SpecInvalidError(f"{name} is {number}; it must be 0 to {most}", field=name)


@dataclass(frozen=True, slots=True)
class VolumeLoaded:
    """The state a volume has now; fetched_bytes: what of the chain had to be fetched for it.

    snapshot: "" when the volume was there after all and was left as it was.
    """

    volume: str
    snapshot: str
    volume_bytes: int
    fetched_bytes: int


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
        """Every instance this host holds, running or not, ordered by id."""
        ...

    def logs(self, instance_id: str, *, lines: int = 100) -> tuple[str, ...]:
        """The newest lines of stdout and stderr, oldest first, each `<RFC 3339 time> <out|err> <text>`."""
        ...

    def samples(self) -> tuple[Sample, ...]:
        """One usage sample of every running instance, in one pass."""
        ...

    def images(self) -> tuple[ImageStatus, ...]:
        """The images in this host's store."""
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


def _check_address(name: str, value: str) -> None:
    # Not shown: anybody who has it may use it. "/…" is at the control plane, wherever this host reaches it;
    # only a host in memory takes file: addresses.
    if len(value) > _ADDRESS_LIMIT or not value.isascii() or not value.isprintable():
        raise SpecInvalidError(
            f"{name} must be at most {_ADDRESS_LIMIT} plain characters", field=name
        )
    if not value.startswith(("/", "https://", "http://", "file:///")) or " " in value:
        raise SpecInvalidError(
            f"{name} must be an address that starts with / or https://", field=name
        )
