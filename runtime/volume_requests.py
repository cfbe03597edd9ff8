"""Putting a volume away off the host and fetching it: what is asked, and what is answered."""

from dataclasses import dataclass, field

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest, check_instance_id, check_slug, check_snapshot_id
from runtime.wire import LATER

# The longest chain a host takes: a full state and the differences after it.
CHAIN_LIMIT = 64
_ADDRESS_LIMIT = 4096


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
