"""Changing the limits of a container that runs, whole or not at all.

Memory comes first, because only memory can be refused: what is in use cannot be taken away. When it
is refused nothing has been changed.
"""

import errno
from collections.abc import Callable
from pathlib import Path

from runtime.cgroup.devices import Device
from runtime.cgroup.layout import Version
from runtime.cgroup.limits import Write, memory_writes_v1, other_writes
from runtime.errors import HostError, LimitInUseError
from runtime.units import Limits, bytes_text

# From a controller's name to the container's directory in its hierarchy.
Place = Callable[[str], Path]


def set_limits(
    instance_id: str,
    ceilings: Limits,
    *,
    version: Version,
    place: Place,
    disks: tuple[Device, ...],
) -> None:
    """Make the limits hold for a running container.

    Less memory than is in use: the kernel takes back what it can (pages of files); when that is not
    enough, LimitInUseError, and every limit stays as it was. HostError when it does not run.
    """
    if not place("pids").is_dir():
        raise HostError(f"{instance_id} does not run here: its limits cannot be changed")
    if version is Version.V1:
        _set_memory_v1(instance_id, ceilings, place)
    else:
        _set_memory_v2(instance_id, ceilings, place)
    for write in other_writes(version, ceilings, disks):
        _write(place, write)


def _set_memory_v1(instance_id: str, ceilings: Limits, place: Place) -> None:
    present = int(_read(place, "memory", "memory.limit_in_bytes"))
    done: list[Write] = []
    for write in memory_writes_v1(ceilings, present):
        try:
            _write(place, write)
            done.append(write)
        except OSError as error:
            for earlier in done:
                _write(place, Write(earlier.controller, earlier.file, str(present)))
            # The kernel has tried to take back pages before it says so.
            if error.errno != errno.EBUSY:
                raise
            used = int(_read(place, "memory", "memory.usage_in_bytes"))
            raise _in_use(instance_id, ceilings, used) from None


def _set_memory_v2(instance_id: str, ceilings: Limits, place: Place) -> None:
    """Version 2 ends processes rather than refuse a limit below what is in use: look first.

    memory.high makes the kernel take pages back at once and slows down who asks for more meanwhile.
    """
    high = _read(place, "memory", "memory.high")
    _write(place, Write("memory", "memory.high", str(ceilings.memory_bytes)))
    try:
        used = int(_read(place, "memory", "memory.current"))
        if used > ceilings.memory_bytes:
            raise _in_use(instance_id, ceilings, used)
        _write(place, Write("memory", "memory.max", str(ceilings.memory_bytes)))
    finally:
        _write(place, Write("memory", "memory.high", high))


def _in_use(instance_id: str, ceilings: Limits, used: int) -> LimitInUseError:
    return LimitInUseError(
        f"{instance_id} uses {bytes_text(used)} of memory, which cannot be taken back; it cannot go on"
        f" with {bytes_text(ceilings.memory_bytes)}: start it anew with them, or give it more",
        instance_id=instance_id,
        used_bytes=used,
    )


def _read(place: Place, controller: str, name: str) -> str:
    return (place(controller) / name).read_text().strip()


def _write(place: Place, write: Write) -> None:
    path = place(write.controller) / write.file
    if write.optional and not path.exists():
        return
    path.write_text(write.value)
