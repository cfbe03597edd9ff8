"""What the control plane may ask of a host, whatever engine runs its containers.

A driver promises end states: every `ensure_*` may be repeated. One promise suite
(tests/runtime/promises.py) runs against every driver.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest, check_instance_id, check_slug
from runtime.units import Ceilings, Sample
from runtime.wire import LATER

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
    """How close an instance is to its disk ceiling."""

    OK = "ok"
    NEAR = "near"
    OVER = "over"


class ContainerState(StrEnum):
    """What a host sees of an instance."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """Everything a host needs to run an instance; it never has to ask back.

    image_digest: manifest digest; image_source: where to get it when the host lacks it ("" = nowhere).
    published_port: host port that leads to container_port, chosen by control, kept over reboots.
    volume: name of the tenant's volume mounted at /data, or "" for none.
    health_path: path that must answer 200 within health_timeout_seconds, or "" to wait for the port alone.
    writable_root: False leaves only /tmp, /dev/shm and the volume to write to.
    internet: False lets it answer requests but open no connection to the outside.
    """

    instance_id: str
    tenant: str
    image_digest: str
    published_port: int
    ceilings: Ceilings
    container_port: int = 8000
    env: tuple[tuple[str, str], ...] = ()
    volume: str = ""
    health_path: str = "/healthz"
    health_timeout_seconds: float = 20.0
    image_source: str = ""
    # Younger than the first agents: left out of messages and records while it is the default.
    writable_root: bool = field(default=True, metadata=LATER)
    internet: bool = field(default=True, metadata=LATER)

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

    address is the container's own IP on the host; restarts counts keeper restarts since ensure_running;
    exit_code is the shell convention (128 + signal) of the last end, or None while it never ended.
    age_seconds: for how long it has been running, or since when it is at an end.
    timings_ms names the parts of the last start (for example bundle, network, container, health).
    oom_kills: processes the kernel ended for want of memory since ensure_running, over all restarts.
    crash_looping: it ended again and again and is now started with growing pauses.
    last_lines: what it logged last before its last end (at most 10 lines, 2 KiB), newest last.
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


class Driver(Protocol):
    """One host, as control flows see it. All raise RuntimeCoreError subclasses (runtime/errors.py)."""

    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        """Run exactly one container for the spec and return once it is healthy.

        A container that already runs with an equal spec is left alone. One whose spec differs only in
        ceilings or internet is given them while it runs (CeilingInUseError when it uses more memory
        than that; then nothing changes). Any other spec replaces it.
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
        """Leave nothing of the instance but a tombstone of its fence; calm when it never was."""
        ...

    def status(self, instance_id: str) -> InstanceStatus:
        """What is known of one instance; state ABSENT when nothing is."""
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
