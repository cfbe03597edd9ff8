"""Tenants' data on this host: directories that outlive containers.

On disk the files of a volume carry ids 0–65535, whoever uses it: each start mounts it with its ids
mapped into the instance's own range, so a volume can be moved to another host as it is.
"""

import os
from pathlib import Path

from runtime.ids import check_slug
from runtime.trees import disk_bytes as measured
from runtime.trees import remove_tree


class Volumes:
    """The volumes below state_dir/volumes, which only root may enter."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / "volumes"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a volume lies; the name is checked because it becomes part of a path."""
        return self._root / check_slug(name)

    def ensure(self, name: str, *, uid: int, gid: int) -> Path:
        """Make the volume when it is missing, owned on disk by the image's own uid and gid."""
        path = self.path(name)
        if not path.exists():
            beside = self._root / f".{name}.new"
            beside.mkdir(mode=0o755, exist_ok=True)
            os.chown(beside, uid, gid)
            beside.replace(path)  # never seen half made
        return path

    def remove(self, name: str) -> None:
        """Delete a volume with all it holds; calm when there is none."""
        remove_tree(self.path(name))

    def names(self) -> tuple[str, ...]:
        """All volumes on this host, in order."""
        return tuple(sorted(one.name for one in self._root.iterdir() if one.name[0] != "."))

    def disk_bytes(self, name: str) -> int:
        """What a volume occupies on disk, in bytes; 0 when there is none."""
        return measured(self.path(name))
