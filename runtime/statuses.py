"""What a host sends back: the status of an instance or an image, the result of a command."""

from dataclasses import dataclass, field
from enum import StrEnum

from runtime.specs import NO_FENCE, Fence
from runtime.wire import LATER


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
    fence: Fence = NO_FENCE
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
