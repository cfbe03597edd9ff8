"""An honest look at the machine, by other means than those that cleaned it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from installer.commands import output
from installer.further import network
from installer.installation import Installation
from installer.machine import processes, scopes
from installer.progress import InstallError
from runtime.config import host_config
from settings import hosts

_MOUNTS = Path("/proc/mounts")
_BLOCK = Path("/sys/block")
_NETNS = Path("/run/netns")
_DEVICES = Path("/sys/class/net")
_CGROUPS = Path("/sys/fs/cgroup")
_WIDTH = 100


def refuse_leftovers(of: Installation) -> None:
    """InstallError with everything of a Stoa that is still on the machine after it was stopped."""
    left = [*_processes(of), *_disks(of), *_of_further_hosts(of)]
    if scopes.is_ours(of.site):
        left += _in_kernel(of)
    if left:
        raise InstallError("this is left, and should not be:", *left)


def _processes(of: Installation) -> Iterator[str]:
    for pid in processes.of(of.var):
        yield f"process {pid}: {processes.command_line(pid)[:_WIDTH]}"


def _disks(of: Installation) -> Iterator[str]:
    below = f"{of.var}/"
    for line in _MOUNTS.read_text().splitlines():
        place = line.split()[1]
        if place.startswith(below):
            yield f"mount {place}"
    for file in _BLOCK.glob("loop*/loop/backing_file"):
        with suppress(OSError):  # freed while it is looked at
            backing = file.read_text().strip()
            if backing.startswith(below):
                yield f"loop device of {backing}"


def _of_further_hosts(of: Installation) -> Iterator[str]:
    """Return what further hosts stand on and have left. A missing tree has nothing in it."""
    for place in _NETNS.glob(f"{of.scope}-host[2-9]"):
        yield f"network namespace {place}"
    for place in (*_DEVICES.glob(network.bridge(of)), *_DEVICES.glob(f"{network.cables(of)}*")):
        yield f"network device {place}"
    yield from _cgroups(f"{of.scope}_host[2-9]*")


def _in_kernel(of: Installation) -> Iterator[str]:
    name = f"{of.scope}_{hosts.HOST_NAME.of(of.environ)}"
    yield from _cgroups(name)
    yield from _cgroups(f"{name}.launch")
    for line in output("nft", "list", "tables").splitlines():
        if line.split()[-1] == name:
            yield f"nftables {line}"
    for device in _DEVICES.glob(f"{host_config(of.environ).interface_prefix}*"):
        yield f"network device {device.name}"


def _cgroups(pattern: str) -> Iterator[str]:
    """Cgroups by this name, in version 2's tree and below the controllers of version 1."""
    for depth in ("", "*/", "*/*/"):
        for place in _CGROUPS.glob(f"{depth}{pattern}"):
            if place.is_dir():
                yield f"cgroup {place}"
