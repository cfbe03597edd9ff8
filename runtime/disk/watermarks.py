"""When a host says that its disk is low or full, before a tenant notices.

A host stands on two file systems: the store, which tenants fill, and the one under it with the host's
own state, logs and images. Either can be full while the other has room.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.config import as_invalid_spec
from runtime.disk.fill import Fill, fill_of
from runtime.disk.loop import image_path, is_mounted, mount_point
from runtime.units import GIB, bytes_text
from settings import fit, hosts

# Under a store lies nothing but the host's own state, which grows slowly: this much is plenty.
PLENTY_BYTES = 10 * GIB
LOW, FULL, UNFIT = "disk_low", "disk_full", "disk_unfit"


@dataclass(frozen=True, slots=True)
class Watermarks:
    """From how many per cent in use on a file system is called low, and full."""

    low_percent: int = hosts.DISK_LOW_PERCENT.of({})
    full_percent: int = hosts.DISK_FULL_PERCENT.of({})


def watermarks(environ: Mapping[str, str]) -> Watermarks:
    """Read STOA_DISK_LOW_PERCENT and STOA_DISK_FULL_PERCENT; SpecInvalidError names the wrong one."""
    with as_invalid_spec():
        fit.disks(environ)
        return Watermarks(hosts.DISK_LOW_PERCENT.of(environ), hosts.DISK_FULL_PERCENT.of(environ))


def conditions(state_dir: Path, marks: Watermarks) -> list[dict[str, str]]:
    """Return what is wrong with this host's disks, for its report; [] if nothing is."""
    found, below = [], fill_of(state_dir)
    if is_mounted(state_dir):
        found += _judged("the tenants' store", fill_of(mount_point(state_dir)), marks)
        if below.free_bytes >= PLENTY_BYTES:
            return found
    elif image_path(state_dir).exists():
        found.append(
            {"kind": UNFIT, "message": "the tenants' store is not mounted: bin/up mounts it"}
        )
    return found + _judged(f"the file system of {state_dir}", below, marks)


def _judged(what: str, fill: Fill, marks: Watermarks) -> list[dict[str, str]]:
    if fill.percent < marks.low_percent:
        return []
    kind = FULL if fill.percent >= marks.full_percent else LOW
    whole = bytes_text(fill.used_bytes + fill.free_bytes)
    return [{"kind": kind, "message": f"{what} is {fill.percent} % full (of {whole})"}]
