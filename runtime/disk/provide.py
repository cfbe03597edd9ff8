"""Provides the place of tenants' data: for bin/up, for a host that joins, and at each start of a machine."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.disk import adopt, loop
from runtime.disk.loop import Store
from runtime.disk.spaces import Spaces
from runtime.errors import HostError, HostUnfitError
from runtime.system.files import open_lock

Note = Callable[[str], None]


def provide(state_dir: Path, size: int | None, *, note: Note) -> Store:
    """Make the store where one is needed and can be, and mount it. Idempotent. Raises HostError.

    size: of a store that has to be made, in bytes; 0 makes none, None leaves the choice to us. Where this
    machine cannot have one, a note says so, and disks are measured instead.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = loop.size_unasked(state_dir) if size is None else size
    try:
        made = loop.ensure(state_dir, wanted)
    except HostUnfitError as error:
        if loop.image_path(state_dir).exists():
            raise
        note(f"disk limits are measured, not enforced: {error.message}")
    else:
        if wanted == 0 and not made.is_enforced:
            why = "STOA_STORE_BYTES is 0" if size == 0 else "too little of the disk is free"
            note(f"disk limits are measured, not enforced: {why}")
    with no_keeper(state_dir) as is_free:
        if is_free:
            take_over(state_dir, note=note)
    return loop.current(state_dir)


def take_over(state_dir: Path, *, note: Note) -> None:
    """Move volumes of before into the store. No keeper may serve this host meanwhile."""
    spaces = Spaces(state_dir)
    for name in adopt.waiting(state_dir) if spaces.quota.enforces else ():
        try:
            adopt.adopt(state_dir, name)
        except HostError as error:
            note(f"volume {name} stays where it is, measured only: {error.message}")
        else:
            note(f"volume {name} is in the store now")


@contextmanager
def no_keeper(state_dir: Path) -> Iterator[bool]:
    """Yield whether no keeper serves this host; none can begin to until the end of the block."""
    fd = open_lock(state_dir / "keeper.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)
