"""Limits as the kernel takes them: which file gets what, in which order, worked out without root.

At a start crun writes the same amounts from the container's configuration (runtime/bundle), so that
they hold before the first instruction; this changes them while the container runs.
"""

from dataclasses import dataclass

from runtime.cgroup.devices import Device
from runtime.cgroup.layout import Version
from runtime.units import Limits


@dataclass(frozen=True, slots=True)
class Write:
    """One value for one file of a controller. optional: a kernel without the file is no trouble."""

    controller: str
    file: str
    value: str
    optional: bool = False


def memory_writes_v1(ceilings: Limits, present: int) -> tuple[Write, ...]:
    """Return the two memory files of version 1. Memory may at no moment be above memory and swap together.

    present: the limit that holds now, in bytes.
    """
    limit = Write("memory", "memory.limit_in_bytes", str(ceilings.memory_bytes))
    # Memory and swap together: equal to memory alone, so no swap.
    both = Write("memory", "memory.memsw.limit_in_bytes", str(ceilings.memory_bytes), optional=True)
    return (both, limit) if ceilings.memory_bytes > present else (limit, both)


def other_writes(
    version: Version, ceilings: Limits, disks: tuple[Device, ...]
) -> tuple[Write, ...]:
    """Return all but memory: processor, processes, reading and writing of each disk."""
    pids = Write("pids", "pids.max", str(ceilings.pids))
    # Who is marked as a burner (burners.py) weighs nothing, and the kernel refuses another weight.
    unmarked = Write("cpu", "cpu.idle", "0", optional=True)
    cpu: tuple[Write, ...]
    if version is Version.V1:
        cpu = (
            Write("cpu", "cpu.cfs_period_us", str(ceilings.cpu_period_micros)),
            Write("cpu", "cpu.cfs_quota_us", str(ceilings.cpu_quota_micros)),
            weighing(version, ceilings.cpu_shares),
        )
    else:
        cpu = (
            Write("cpu", "cpu.max", f"{ceilings.cpu_quota_micros} {ceilings.cpu_period_micros}"),
            weighing(version, ceilings.cpu_shares),
        )
    return (unmarked, *cpu, pids, *io_writes(version, ceilings, disks))


def io_writes(version: Version, ceilings: Limits, disks: tuple[Device, ...]) -> tuple[Write, ...]:
    """Reading and writing of each disk; an amount of 0 takes the limit away."""
    rate = ceilings.io_bytes_per_second
    found = []
    for major, minor in disks:
        name = f"{major}:{minor}"
        if version is Version.V2:
            amount = rate or "max"
            found.append(Write("io", "io.max", f"{name} rbps={amount} wbps={amount}", True))
            continue
        for file in ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"):
            found.append(Write("blkio", file, f"{name} {rate}", True))
    return tuple(found)


def scope_weight(version: Version, cores: int) -> Write:
    """Return the weight of all containers together; each process of the host itself weighs one share."""
    if version is Version.V1:
        return Write("cpu", "cpu.shares", str(min(cores * 1024, 262_144)))
    return Write("cpu", "cpu.weight", str(min(cores * 100, 10_000)))


def weighing(version: Version, shares: int) -> Write:
    """Return the weight of one instance beside the others."""
    if version is Version.V1:
        return Write("cpu", "cpu.shares", str(shares))
    return Write("cpu", "cpu.weight", str(weight(shares)))


def weight(shares: int) -> int:
    """Version 2's weight (1 to 10000) for version 1's shares (2 to 262144), as crun reckons it."""
    return 1 + (shares - 2) * 9999 // 262142
