"""The command `images/build`: which images, from which directories, into which cache."""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from . import cache, layout
from .commands import BuildError
from .podman import BASE_TAG, Podman
from .rootfs import make_rootfs

IMAGES = Path(__file__).resolve().parent.parent
OWN = ("base", "shop", "hello")  # base first: the others stand on it
DEFAULT = ("base", "shop")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

BASE_CONFIG: dict[str, object] = {
    "Env": ["PATH=/usr/bin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1"],
    "User": "10001:10001",
    "WorkingDir": "/",
    "Cmd": ["/usr/bin/python3.11"],
    "Labels": {
        "org.opencontainers.image.title": "Stoa's Python base",
        "org.opencontainers.image.description": "Python 3.11 from Debian 12: no shell, no package manager",
        "org.opencontainers.image.base.name": "Debian 12 packages",
    },
}


BASE_SOURCES = tuple(
    IMAGES / "imagebuild" / f"{name}.py" for name in ("debian", "layout", "prune", "rootfs")
)


class Builder:
    """Builds into one cache directory; the caller holds its lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "oci").mkdir(parents=True, exist_ok=True)
        for left in directory.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed

    def base(self, *, refresh: bool = False) -> Path:
        """The base's layout. `refresh` downloads the packages anew, for security updates."""
        key = cache.key_of(*BASE_SOURCES, salt=json.dumps(BASE_CONFIG))
        target = self._place("base", key)
        if cache.is_whole(target) and not refresh:
            return target
        packages = self._directory / "packages"
        if refresh:
            shutil.rmtree(packages, ignore_errors=True)
        with self._scratch() as scratch:
            root = scratch / "rootfs"
            root.mkdir()
            make_rootfs(root, packages)
            layout.write_layout(root, scratch / "layout", name="base", config=BASE_CONFIG)
            return _settle(scratch / "layout", target)

    def from_context(self, name: str, context: Path, *, refresh: bool = False) -> Path:
        """The layout of the image built from a directory that holds a Dockerfile."""
        if not (context / "Dockerfile").is_file():
            raise BuildError(f"--context {context} holds no file named Dockerfile")
        base = self.base(refresh=refresh)
        key = cache.key_of(
            context, IMAGES / "imagebuild/podman.py", salt=layout.manifest_digest(base)
        )
        target = self._place(name, key)
        if cache.is_whole(target):
            return target
        with self._scratch() as scratch, closing(Podman(scratch)) as podman:
            podman.load(base, BASE_TAG)
            podman.build(context, scratch / "layout", name=name)
            return _settle(scratch / "layout", target)

    def _place(self, name: str, key: str) -> Path:
        return self._directory / "oci" / f"{name}-{key}"

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A directory on the cache's own file system, so that a finished layout moves by rename."""
        with tempfile.TemporaryDirectory(prefix=".building-", dir=self._directory) as made:
            yield Path(made)


def _settle(made: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    return target


def main(argv: list[str] | None = None) -> int:
    """Build what was asked for and print one JSON line per image."""
    given = _arguments(argv)
    try:
        given.cache.mkdir(parents=True, exist_ok=True)
        with (given.cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits, then finds everything built
            _build(Builder(given.cache.resolve()), given)
    except (BuildError, OSError) as error:
        print(f"images/build: {error}", file=sys.stderr)
        return 1
    return 0


def _build(builder: Builder, given: argparse.Namespace) -> None:
    refresh = given.refresh
    for name in given.names:
        if name == "base":
            made = builder.base(refresh=refresh)
        else:
            context = given.context or IMAGES / name
            made = builder.from_context(name, context.resolve(), refresh=refresh)
        refresh = False
        line = {"name": name, "layout": str(made), "digest": layout.manifest_digest(made)}
        print(json.dumps(line), flush=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="images/build",
        description="Build images to OCI layout directories, without a registry. Prints one JSON line "
        'per image: {"name": …, "layout": …, "digest": "sha256:…"}.',
    )
    parser.add_argument(
        "--cache", type=Path, required=True, help="where images and downloads are kept"
    )
    parser.add_argument(
        "--only", choices=OWN, help="build this one of our own (default: base and shop)"
    )
    parser.add_argument(
        "--context", type=Path, help="build this directory with a Dockerfile instead"
    )
    parser.add_argument("--name", help="name of the image built from --context")
    parser.add_argument("--refresh", action="store_true", help="download the base's packages anew")
    given = parser.parse_args(argv)
    if (given.context is None) != (given.name is None):
        parser.error("--context and --name go together")
    if given.only and given.name:
        parser.error("--only is for our own images; use either it or --context")
    if given.name and (not NAME.fullmatch(given.name) or given.name in OWN):
        parser.error(
            f"--name {given.name!r}: use up to 40 of a-z, 0-9 and '-', not one of {', '.join(OWN)}"
        )
    given.names = [given.name] if given.name else [given.only] if given.only else list(DEFAULT)
    return given
