"""A btrfs of our own in a file, for hosts whose file system cannot keep a tenant below a limit.

The file is allocated to its last byte, and nothing ever gives a byte of it back: in a file with
holes every tenant would turn read-only the moment the file system under it is full. That is why
neither mkfs nor the mount may discard what is free.
"""

import errno
import fcntl
import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.disk import btrfs_calls as btrfs
from runtime.disk.descriptors import opened
from runtime.disk.fill import fill_of
from runtime.disk.quota import detect
from runtime.errors import HostError, HostUnfitError
from runtime.system import syscalls
from runtime.system.commands import run
from runtime.units import GIB, MIB, bytes_text

# Below this btrfs has no room for its own trees beside the tenants' data.
LEAST_BYTES = 256 * MIB
MOST_BYTES_UNASKED = 20 * GIB
# Of the file system under it, this much is left alone by a store whose size nobody has chosen.
_LEFT_PERCENT = 20
_OPTIONS = "nodiscard,commit=5"
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOATIME
_NODE_BYTES = 4096
_BUSY_SECONDS = 10.0
# The last step of an unmount writes everything back, on a disk that others may keep busy.
_FREE_SECONDS = 60.0
_MKFS_SECONDS = 120.0

_CONTROL = "/dev/loop-control"
_GET_FREE, _CONFIGURE, _SET_CAPACITY = 0x4C82, 0x4C0A, 0x4C07
_AUTOCLEAR, _DIRECT_IO = 4, 16
_RESIZE = 1 << 30 | 4096 << 16 | 0x94 << 8 | 3
_NO_COPY_ON_WRITE = 0x00800000
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602


@dataclass(frozen=True, slots=True)
class Store:
    """What stands where tenants' data go; kind and is_enforced as Quota has them."""

    kind: str
    is_enforced: bool
    place: Path
    total_bytes: int
    free_bytes: int
    is_loop: bool


def mount_point(state_dir: Path) -> Path:
    """Return where the store is mounted, or would be."""
    return state_dir / "store"


def place(state_dir: Path) -> Path:
    """Return where tenants' data lie: the store where one is mounted, else the state directory's file
    system.
    """
    return mount_point(state_dir) if is_mounted(state_dir) else state_dir


def image_path(state_dir: Path) -> Path:
    """Return the file that holds the store, where there is one."""
    return state_dir / "store.img"


def is_mounted(state_dir: Path) -> bool:
    """Return whether another file system is mounted where the store belongs."""
    try:
        return mount_point(state_dir).stat().st_dev != state_dir.stat().st_dev
    except FileNotFoundError:
        return False


def check_mounted(state_dir: Path) -> None:
    """HostUnfitError when there is a store that is not mounted: its tenants would seem to have lost all."""
    if image_path(state_dir).exists() and not is_mounted(state_dir):
        raise HostUnfitError(
            f"the store {image_path(state_dir)} is not mounted on {mount_point(state_dir)};"
            " bin/up or `python -m runtime store up` mounts it"
        )


def size_unasked(state_dir: Path) -> int:
    """Return the default size of a store: half of what may be taken, at most 20 GiB; 0 for none."""
    found = fill_of(state_dir)
    takeable = found.free_bytes - (found.used_bytes + found.free_bytes) * _LEFT_PERCENT // 100
    size = min(MOST_BYTES_UNASKED, takeable // 2) // (64 * MIB) * (64 * MIB)
    return size if size >= LEAST_BYTES else 0


def ensure(state_dir: Path, size: int) -> Store:
    """See that tenants' data have a place that keeps them below their limits, and mount it.

    size: of a store that has to be made, in bytes; 0 makes none. HostError when there is no room for
    it, HostUnfitError when this machine cannot have one.
    """
    top = mount_point(state_dir)
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    image = image_path(state_dir)
    if not image.exists() and not is_mounted(state_dir) and size and not detect(top).enforces:
        _make(image, size)
        try:
            _mount(image, top)
        except OSError as error:
            image.unlink()  # new and empty
            raise HostUnfitError(f"a store in a file cannot be mounted here: {error}") from error
    remount(state_dir)
    return current(state_dir)


def remount(state_dir: Path) -> None:
    """Mount the store that is there; no-op if it is mounted, or when there is none."""
    image = image_path(state_dir)
    if not image.exists() or is_mounted(state_dir):
        return
    top = mount_point(state_dir)
    top.mkdir(mode=0o700, exist_ok=True)
    try:
        _mount(image, top)
    except OSError as error:
        raise HostError(f"the store {image} cannot be mounted: {error}") from error


def current(state_dir: Path) -> Store:
    """Return the store as it is now."""
    top = mount_point(state_dir)
    where = top if top.is_dir() else state_dir
    quota = detect(where)
    found = os.statvfs(where)
    return Store(
        kind=quota.kind,
        is_enforced=quota.enforces,
        place=where,
        total_bytes=found.f_blocks * found.f_frsize,
        free_bytes=found.f_bavail * found.f_frsize,
        is_loop=is_mounted(state_dir),
    )


def release(state_dir: Path) -> None:
    """Unmount the store and free its loop device; no-op if it is not mounted. Data stay."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while is_mounted(state_dir):
        try:
            syscalls.umount(str(mount_point(state_dir)), flags=0)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise HostError(f"the store cannot be unmounted: {error}") from error
            time.sleep(0.1)
    # Whoever made a mount namespace meanwhile has a copy of the mount, which would hold the device for as
    # long as that lasts. The kernel unmounts every copy when the directory goes.
    with suppress(OSError):
        mount_point(state_dir).rmdir()
    _wait_until_free(image_path(state_dir))


def grow(state_dir: Path, size: int) -> Store:
    """Make the store larger while it is in use; HostError when the file system under it has no room."""
    image = image_path(state_dir)
    if not is_mounted(state_dir) or not image.exists():
        raise HostError(
            "there is no store in a file to grow; `python -m runtime doctor` says what is"
        )
    if size <= image.stat().st_size:
        raise HostError(f"the store has {image.stat().st_size} bytes already; it only grows")
    _check_room(image, size - image.stat().st_size)
    run("fallocate", "--length", str(size), str(image), timeout=_MKFS_SECONDS)
    with opened(_device_of(state_dir)) as device:
        fcntl.ioctl(device, _SET_CAPACITY)
    with opened(mount_point(state_dir)) as top:
        fcntl.ioctl(top, _RESIZE, bytearray(struct.pack("<q4088s", 0, b"max")))
    return current(state_dir)


def _make(image: Path, size: int) -> None:
    if size < LEAST_BYTES:
        raise HostError(
            f"a store of {size} bytes was asked for; it must have at least {LEAST_BYTES}, or 0 for none"
        )
    _check_room(image, size)
    beside = image.with_name(".store.img.new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600)
    _keep_in_place(beside)
    try:
        run("fallocate", "--length", str(size), str(beside), timeout=_MKFS_SECONDS)
        nodes = (
            ("--nodesize", str(_NODE_BYTES)) if os.sysconf("SC_PAGE_SIZE") == _NODE_BYTES else ()
        )
        run(
            "mkfs.btrfs", "--quiet", "--nodiscard", "--metadata", "single", "--data", "single",
            "--label", "stoa-store", *nodes, str(beside), timeout=_MKFS_SECONDS,
        )  # fmt: skip
        with opened(beside) as fd:
            os.fsync(fd)
    except HostError as error:
        beside.unlink(missing_ok=True)
        raise HostUnfitError(f"a store in a file cannot be made here: {error.message}") from error
    beside.replace(image)


def _check_room(image: Path, wanted: int) -> None:
    found = os.statvfs(image.parent)
    free = found.f_bavail * found.f_frsize
    if wanted > free - GIB:
        raise HostError(
            f"the store wants {bytes_text(wanted)} more and {image.parent} has {bytes_text(free)} free;"
            " at least 1 GiB must stay free: choose a smaller STOA_STORE_BYTES"
        )


def _keep_in_place(file: Path) -> None:
    """On btrfs: write the file's blocks where they are, or each write would ask for new ones."""
    with opened(file) as fd, suppress(OSError):
        flags = bytearray(8)
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        (now,) = struct.unpack_from("<I", flags)
        fcntl.ioctl(fd, _SET_FLAGS, bytearray(struct.pack("<Q", now | _NO_COPY_ON_WRITE)))


def _mount(image: Path, top: Path) -> None:
    with opened(image, os.O_RDWR) as file:
        device, path = _attach(file, image)
    try:
        syscalls.mount(path, str(top), "btrfs", _FLAGS, _OPTIONS)
    finally:
        os.close(device)  # frees it, unless it is mounted now
    top.chmod(0o700)
    with opened(top) as fd:
        if not btrfs.quota_flags(fd) & btrfs.QUOTA_ON:
            btrfs.enable_quota(fd)


def _attach(file: int, image: Path) -> tuple[int, str]:
    """Return a loop device for the file that frees itself after its last use; its descriptor and path."""
    with opened(Path(_CONTROL), os.O_RDWR) as control:
        while True:
            number = fcntl.ioctl(control, _GET_FREE)
            path = f"/dev/loop{number}"
            if not Path(path).exists():
                os.mknod(path, 0o660 | 0o060000, os.makedev(7, number))
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            for flags in (_AUTOCLEAR | _DIRECT_IO, _AUTOCLEAR):
                try:
                    fcntl.ioctl(device, _CONFIGURE, _configuration(file, image, flags))
                except OSError as error:
                    if error.errno == errno.EBUSY:
                        break  # somebody else was faster: the next one
                    if flags == _AUTOCLEAR:
                        os.close(device)
                        raise
                else:
                    return device, path
            os.close(device)


def _configuration(file: int, image: Path, flags: int) -> bytearray:
    """Return a struct loop_config."""
    name = os.fsencode(image)[-63:]
    info = struct.pack("<5Q4I64s64s32s2Q", *[0] * 5, 0, 0, 0, flags, name, b"", b"", 0, 0)
    return bytearray(struct.pack("<II", file, 0) + info + bytes(64))


def _device_of(state_dir: Path) -> Path:
    number = mount_point(state_dir).resolve()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == str(number):
            return Path(after.split()[1])
    raise HostError(f"{number} is not in the table of mounts")


def _wait_until_free(image: Path) -> None:
    """The kernel frees a loop device a moment after its last user has gone."""
    deadline = time.monotonic() + _FREE_SECONDS
    while holders := _loops_of(image):
        if time.monotonic() > deadline:
            raise HostError(f"{', '.join(holders)} still holds {image}")
        time.sleep(0.02)


def _loops_of(image: Path) -> list[str]:
    wanted = str(image.resolve())
    found = []
    for place in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if place.read_text().strip() == wanted:
                found.append(f"/dev/{place.parent.parent.name}")
    return found
