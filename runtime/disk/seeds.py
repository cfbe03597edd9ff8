"""What a tenant's volume begins with: the content that the image has where it is mounted.

Besides /data an image may want other directories kept (VOLUME). Each has a place of its own in the tenant's
volume, below .volumes, so that copies, moves and the limit hold for it as for all the rest.

A tenant may put anything there, links to the host's files too, also while we look: nothing here follows a
link, and what is copied is copied where no tenant can reach it and renamed into its place.
"""

import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from runtime.errors import CommandFailedError, HostError
from runtime.system.commands import run
from runtime.system.syscalls import open_beneath
from runtime.system.trees import remove_tree

FOLDER = ".volumes"
# Within the time that a start has.
_COPY_SECONDS = 50.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


def copy(rootfs: Path, path: str, target: Path) -> None:
    """Copy what an image has in a directory into target, with owners and modes; no-op if it has none.

    HostError when it does not fit or takes too long; what was copied until then stays in target.
    """
    with _opened(rootfs) as image:
        try:
            source = open_beneath(image, path.strip("/"), _DIRECTORY)
        except OSError as error:
            if error.errno in _NONE:
                return
            raise
    try:
        # Not Python's own copy: this keeps links, holes, attributes and ids, and never follows a link.
        inside = f"/proc/{os.getpid()}/fd/{source}/."
        run("cp", "--archive", "--", inside, str(target), timeout=_COPY_SECONDS)
    except CommandFailedError as error:
        raise HostError(
            f"what the image has in {path} cannot be copied into the tenant's volume; a plan with more"
            f" disk, or an image with less there: {error.message}"
        ) from error
    finally:
        os.close(source)


@contextmanager
def kept_directories(
    volume: Path, rootfs: Path, paths: Collection[str], *, owner: tuple[int, int]
) -> Iterator[list[tuple[str, str]]]:
    """Each directory that an image wants kept, with a path to its place in the volume to mount from.

    A missing place begins with what the image has. An empty one that is root's is given to owner (uid and
    gid of the image's user), as the volume is. The paths lead to what was looked at here, while the block
    lasts.
    """
    with ExitStack() as held:
        top = held.enter_context(_opened(volume))
        if paths and not _is_directory(top, FOLDER):
            os.mkdir(FOLDER, 0o755, dir_fd=top)
        found = []
        for path in paths:
            folder = held.enter_context(_opened(FOLDER, dir_fd=top))
            name = place_of(path)
            if not _is_directory(folder, name):
                seed = _seed(volume, rootfs, path, owner)
                os.rename(seed, name, dst_dir_fd=folder)
            place = held.enter_context(_opened(name, dir_fd=folder))
            found.append((path, f"/proc/self/fd/{place}"))
        yield found


def place_of(path: str) -> str:
    """Return the name of a directory's place below FOLDER."""
    return quote(path.strip("/"), safe="")


def _seed(volume: Path, rootfs: Path, path: str, owner: tuple[int, int]) -> Path:
    """Return what a place begins with, whole, beside the volume; of a start that was killed nothing is
    used.
    """
    seed = volume.with_name(f".{volume.name}.seed")
    remove_tree(seed)
    seed.mkdir(mode=0o755)
    try:
        copy(rootfs, path, seed)
    except HostError:
        remove_tree(seed)  # it would fill the space for the next try
        raise
    if seed.stat().st_uid == 0 and not any(seed.iterdir()):
        os.chown(seed, *owner)
    return seed


def _is_directory(parent: int, name: str) -> bool:
    """Return whether it is there; what a tenant has put in its place, and is none, is renamed."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(mode):
        aside = f"{name}.aside-{secrets.token_hex(4)}"
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    return stat.S_ISDIR(mode)


@contextmanager
def _opened(path: Path | str, *, dir_fd: int | None = None) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)
