"""Reasons why a host cannot take an instance: each returns a sentence, or None when it can."""

from collections.abc import Callable

from workers.scheduler.values import HostView, InstanceView

Filter = Callable[[HostView, InstanceView], str | None]

_MIB = 1024 * 1024


def is_seen(host: HostView, instance: InstanceView) -> str | None:
    """A host that does not report may be gone, or may come back: nothing new goes there."""
    return None if host.is_seen else "has not reported in the last seconds"


def is_open(host: HostView, instance: InstanceView) -> str | None:
    """An operator may close a host to new instances."""
    return None if host.is_open else "is cordoned"


def has_well_disks(host: HostView, instance: InstanceView) -> str | None:
    """What is booked is a guess about disks; what the host says of them is not."""
    return f"disk: {host.disk_trouble}" if host.disk_trouble else None


def has_room(host: HostView, instance: InstanceView) -> str | None:
    """What is booked plus what the instance is expected to use must fit into what is offered."""
    after = host.booked.plus(instance.demand)
    lacks = [
        f"{name} ({booked // unit} of {offered // unit} {word} booked, {wanted // unit} wanted)"
        for name, after_all, offered, booked, wanted, unit, word in (
            (
                "processor",
                after.cpu_millis,
                host.offered.cpu_millis,
                host.booked.cpu_millis,
                instance.demand.cpu_millis,
                1,
                "millicores",
            ),
            (
                "memory",
                after.memory_bytes,
                host.offered.memory_bytes,
                host.booked.memory_bytes,
                instance.demand.memory_bytes,
                _MIB,
                "MiB",
            ),
            (
                "disk",
                after.disk_bytes,
                host.offered.disk_bytes,
                host.booked.disk_bytes,
                instance.demand.disk_bytes,
                _MIB,
                "MiB",
            ),
        )
        if after_all > offered
    ]
    return f"has no room: {', '.join(lacks)}" if lacks else None


FILTERS: tuple[Filter, ...] = (is_seen, is_open, has_well_disks, has_room)
