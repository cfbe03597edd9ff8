"""The files every container of a host has in common."""

import stat
from pathlib import Path

from runtime.config import HostConfig
from runtime.system.files import make_directory, remove_anything

_MOUNT_POINTS = ("proc", "sys", "dev", "tmp")
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644
_HOSTS = "127.0.0.1 localhost\n"


def furniture_path(config: HostConfig, *, with_volume: bool) -> Path:
    """Return the furniture for an instance with or without a volume (they differ by /data)."""
    return config.state_dir / "furniture" / ("volume" if with_volume else "plain")


def ensure_furniture(config: HostConfig) -> None:
    """Make both sets of furniture, whatever lies in their place; cheap when they are whole."""
    wanted = {"etc/hosts": _HOSTS, "etc/resolv.conf": f"nameserver {config.address}\n"}
    for with_volume in (True, False):
        root = furniture_path(config, with_volume=with_volume)
        points = (*_MOUNT_POINTS, "etc", *(("data",) if with_volume else ()))
        for place in (root.parent, root, *(root / point for point in points)):
            _have_directory(place)
        for name, text in wanted.items():
            _have_file(root / name, text)


def _have_directory(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        make_directory(path)
    if stat.S_IMODE(path.stat().st_mode) != _DIRECTORY_MODE:
        path.chmod(_DIRECTORY_MODE)


def _have_file(path: Path, text: str) -> None:
    """Written in place where it is a file: containers that run have this very file before them."""
    if path.is_symlink() or not path.is_file():
        remove_anything(path)
    elif path.read_bytes() == text.encode() and stat.S_IMODE(path.stat().st_mode) == _FILE_MODE:
        return
    path.write_text(text)
    path.chmod(_FILE_MODE)
