"""A host that is a part of a machine: what it was given of it, and what of that its shops use.

The figures of the whole machine say nothing about such a host: others use it too.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.cgroup.layout import Layout, Version, layout_in
from runtime.config import HostConfig, as_invalid_spec
from settings import fit, inner


@dataclass(frozen=True, slots=True)
class Slice:
    """Thousandths of a core and bytes of memory that are the host's, and where its cgroups are."""

    cpu_millis: int
    memory_bytes: int
    layout: Layout
    scope: str

    def busy_nanos(self) -> int:
        """Processor time used here since the cgroup was made."""
        if self.layout.version is Version.V1:
            return _number(self._place("cpuacct") / "cpuacct.usage")
        return 1000 * _field(self._place("cpu") / "cpu.stat", "usage_usec")

    def used_bytes(self) -> int:
        """Memory in use, without what the kernel would give up at once."""
        place = self._place("memory")
        if self.layout.version is Version.V1:
            used, idle = place / "memory.usage_in_bytes", "total_inactive_file"
        else:
            used, idle = place / "memory.current", "inactive_file"
        return max(0, _number(used) - _field(place / "memory.stat", idle))

    def _place(self, controller: str) -> Path:
        return self.layout.roots[controller] / self.scope


def slice_of(config: HostConfig, environ: Mapping[str, str]) -> Slice | None:
    """Return the slice that STOA_SLICE_CPU_MILLIS and STOA_SLICE_MEMORY_BYTES describe; None without them."""
    with as_invalid_spec():
        fit.host(environ)
        cpu_millis = inner.SLICE_CPU_MILLIS.of(environ)
        memory_bytes = inner.SLICE_MEMORY_BYTES.of(environ)
    if cpu_millis is None or memory_bytes is None:
        return None
    layout = layout_in(Path("/proc/self/mounts").read_text())
    most = 1000 * len(os.sched_getaffinity(0))
    return Slice(min(cpu_millis, most), memory_bytes, layout, f"{config.scope}_{config.name}")


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return 0  # no shop has been started here yet


def _field(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
