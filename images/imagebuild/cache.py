"""Finds what was built before from the same files, so that a second run costs nothing."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

IGNORED = ("__pycache__",)


def key_of(*paths: Path, salt: str = "") -> str:
    """12 hex digits that change when a name, mode or content below `paths` does."""
    digest = hashlib.sha256(salt.encode())
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in below:
            if any(part in IGNORED for part in file.parts):
                continue
            status = file.lstat()
            if stat.S_ISDIR(status.st_mode):
                continue
            where = file.relative_to(path) if path.is_dir() else Path(file.name)
            content = str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
            line = f"{where}\0{stat.S_IMODE(status.st_mode):o}\0{len(content)}\0"
            digest.update(line.encode() + content)
    return digest.hexdigest()[:12]


def is_whole(layout: Path) -> bool:
    """A layout is put in place by one rename, so an index means that all of it is there."""
    return (layout / "index.json").is_file()
