"""What a host is asked to run: an instance's spec, the fence of the caller, the fate of a volume."""

from dataclasses import dataclass, field
from enum import StrEnum

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest, check_instance_id, check_slug
from runtime.units import Limits
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


# The fence of an instance that nobody has acted on yet.
NO_FENCE = Fence(0, 0)


class VolumeFate(StrEnum):
    """What becomes of an instance's volume when the instance leaves a host."""

    KEEP = "keep"
    DELETE = "delete"


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
