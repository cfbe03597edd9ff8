"""The files every container of a host has in common."""

from pathlib import Path

from runtime.config import HostConfig

_MOUNT_POINTS = ("proc", "sys", "dev", "tmp")
_HOSTS = "127.0.0.1 localhost\n"


def furniture_path(config: HostConfig, *, with_volume: bool) -> Path:
    """The furniture for an instance with or without a volume (they differ by /data)."""
    return config.state_dir / "furniture" / ("volume" if with_volume else "plain")


def ensure_furniture(config: HostConfig) -> None:
    """Make both sets of furniture; cheap when they are there."""
    wanted = {"etc/hosts": _HOSTS, "etc/resolv.conf": f"nameserver {config.address}\n"}
    for with_volume in (True, False):
        root = furniture_path(config, with_volume=with_volume)
        points = (*_MOUNT_POINTS, "etc", *(("data",) if with_volume else ()))
        for point in points:
            (root / point).mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, text in wanted.items():
            path = root / name
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                path.chmod(0o644)
