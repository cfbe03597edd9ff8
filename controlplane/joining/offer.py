"""What this machine is and has: its name, the address others reach it by, and how much it offers."""

import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.joining.errors import JoiningError, UnreachableError
from runtime.units import MIB

KINDS = ("cpu_millis", "memory_bytes", "disk_bytes")
# Keeper, agent and kernel take well below that; no control plane runs here.
_RESERVE_MEMORY = 512 * MIB


@dataclass(frozen=True, slots=True)
class Offer:
    """Capacity, and what of it is kept back for the machine itself, by kind."""

    capacity: dict[str, int]
    reserve: dict[str, int]


def default_name() -> str:
    """Return the machine's own name as far as it can be a host's."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return (name if name[:1].isalpha() else f"host-{name}")[:32].strip("-")


def address_towards(url: str) -> str:
    """Return the IPv4 address of this machine from which it reaches the control plane."""
    place = urlsplit(url)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((place.hostname or "", place.port or 443))  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UnreachableError(f"there is no way from here to {url}: {error}") from error


def measure(place: Path, wanted: Mapping[str, int | None]) -> Offer:
    """Return what is wanted (`cpu_millis`, `reserve_memory_bytes`, …), else what the machine has.

    place: a directory on the file system that holds the volumes. JoiningError for more reserve than capacity.
    """
    capacity = {
        "cpu_millis": _given(wanted, "cpu_millis", 1000 * len(os.sched_getaffinity(0))),
        "memory_bytes": _given(wanted, "memory_bytes", memory_bytes()),
        "disk_bytes": _given(wanted, "disk_bytes", shutil.disk_usage(place).total),
    }
    defaults = {
        "cpu_millis": capacity["cpu_millis"] // 20,
        "memory_bytes": min(_RESERVE_MEMORY, capacity["memory_bytes"] // 8),
        "disk_bytes": capacity["disk_bytes"] // 10,
    }
    reserve = {kind: _given(wanted, f"reserve_{kind}", defaults[kind]) for kind in KINDS}
    for kind in KINDS:
        if not 0 <= reserve[kind] < capacity[kind]:
            raise JoiningError(
                f"{kind}: {capacity[kind]} are offered and {reserve[kind]} kept back;"
                f" keep back less: --reserve-{kind.replace('_', '-')}"
            )
    return Offer(capacity, reserve)


def memory_bytes() -> int:
    """Return the machine's memory, or the limit of the container or slice this is."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(file).read_text()))
        except (OSError, ValueError):
            continue
    return total


def _given(wanted: Mapping[str, int | None], name: str, default: int) -> int:
    value = wanted.get(name)
    return default if value is None else value
