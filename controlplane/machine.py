"""How much this machine has to offer as a host, and how much of it the control plane keeps for itself."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.joining.offer import memory_bytes
from runtime.units import GIB
from tenants.pool.registration import MachineResources

AMOUNTS = {
    "cpu-millis": "thousandths of a processor core",
    "memory-bytes": "bytes of memory",
    "disk-bytes": "bytes of disk",
}


def room(state_dir: Path, wanted: Mapping[str, Any]) -> tuple[MachineResources, MachineResources]:
    """Capacity and reserve: what is wanted (`host_cpu_millis`, `reserve_memory_bytes`, …), else measured.

    state_dir: a directory on the file system that holds the volumes.
    """
    capacity = MachineResources(
        cpu_millis=wanted.get("host_cpu_millis") or 1000 * len(os.sched_getaffinity(0)),
        memory_bytes=wanted.get("host_memory_bytes") or memory_bytes(),
        disk_bytes=wanted.get("host_disk_bytes") or shutil.disk_usage(state_dir).total,
    )
    reserve = MachineResources(
        cpu_millis=_given(wanted, "reserve_cpu_millis", capacity.cpu_millis // 10),
        # PostgreSQL, Redis, web and workers of one machine take about 1 GiB.
        memory_bytes=_given(
            wanted, "reserve_memory_bytes", min(GIB + GIB // 2, capacity.memory_bytes // 4)
        ),
        disk_bytes=_given(wanted, "reserve_disk_bytes", capacity.disk_bytes // 10),
    )
    return capacity, reserve


def _given(wanted: Mapping[str, Any], name: str, default: int) -> int:
    value = wanted.get(name)
    return default if value is None else int(value)
