"""Mounting one instance's file system for one start.

Runs in a process that has just been forked for this start and ends with it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.system import syscalls

_UNIFIED_OF_HYBRID = "/sys/fs/cgroup/unified"
# Covered by the stage in the launcher's own mount namespace only. crun works there with the ids of
# the container, to whom the state directory (0700) is closed; this directory every Linux has, it is
# open to all, and nothing we mount from ever lies below it.
_PLACE = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Stage:
    """The places on the stage: a small tmpfs that only the launcher's mount namespace knows."""

    root: Path

    @property
    def rootfs(self) -> Path:
        return self.root / "rootfs"

    @property
    def volume(self) -> Path:
        return self.root / "volume"

    def compiled(self, instance_id: str) -> Path:
        """Return the seccomp profile as crun compiled it for this start."""
        return self.crun_root / instance_id / "seccomp.bpf"

    def kept(self, number: int) -> Path:
        """Return the place of the image's directory of that number that is kept besides the volume."""
        return self.root / f"kept{number}"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def crun_root(self) -> Path:
        return self.root / "crun"


def open_stage() -> Stage:
    """Leave the host's mount namespace and set up an empty stage.

    crun 1.8 refuses hosts with cgroup v1 and v2 side by side ("hybrid"); in this namespace there is
    only v1 left on such a host.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    if os.path.ismount(_UNIFIED_OF_HYBRID):
        syscalls.umount(_UNIFIED_OF_HYBRID)
    syscalls.mount(
        "stage", str(_PLACE), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755"
    )
    stage = Stage(_PLACE)
    for path in (stage.rootfs, stage.bundle, stage.crun_root):
        path.mkdir(mode=0o755)
    return stage


def assemble(
    stage: Stage, *, lower: tuple[Path, ...], upper: Path | None, work: Path, userns_fd: int
) -> None:
    """Stack the layers on stage.rootfs; lower: highest first, each seen through the user namespace.

    upper None: nothing is writable, at least two lower layers are needed then.
    """
    names = []
    for number, layer in enumerate(lower):
        target = stage.root / f"lower{number}"
        target.mkdir()
        syscalls.attach_idmapped(
            str(layer),
            str(target),
            userns_fd=userns_fd,
            attributes=syscalls.MOUNT_ATTR_NOSUID
            | syscalls.MOUNT_ATTR_NODEV
            | syscalls.MOUNT_ATTR_RDONLY,
        )
        names.append(str(target))
    writable = f",upperdir={upper},workdir={work}" if upper else ""
    syscalls.mount(
        "overlay",
        str(stage.rootfs),
        "overlay",
        syscalls.MS_NODEV | syscalls.MS_NOSUID,
        f"lowerdir={':'.join(names)}{writable}",
    )


def attach_volume(target: Path, source: str, *, userns_fd: int) -> None:
    """Mount a tenant's volume, or a part of it, on the stage; ids mapped, no set-uid programs or devices."""
    target.mkdir()
    syscalls.attach_idmapped(
        source,
        str(target),
        userns_fd=userns_fd,
        attributes=syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV,
    )
