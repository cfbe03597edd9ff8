"""Builds a directory with a Dockerfile into an OCI layout, with podman and without a registry.

Podman's state lives as long as one run: kept, it would name its own paths and refuse to work
after the checkout moved. Its mounts are in a mount namespace of their own and end with it.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from .commands import REMEDY, BuildError, run

BASE_TAG = "localhost/stoa-base:latest"


class Podman:
    """A private podman; `scratch` is a directory of its own that the caller removes afterwards."""

    def __init__(self, scratch: Path) -> None:
        if shutil.which("podman") is None:
            raise BuildError(f"the program 'podman' is missing; {REMEDY['podman']}")
        self._root = scratch / "podman"
        # Podman refuses a run root of more than 50 characters, so this cannot lie in the cache;
        # and without --tmpdir it keeps host-wide state under /run/libpod.
        self._short = Path(f"/run/stoa-build-{secrets.token_hex(5)}")
        self._short.mkdir(mode=0o700)

    def close(self) -> None:
        """Leave nothing behind outside the scratch directory."""
        shutil.rmtree(self._short, ignore_errors=True)

    def load(self, layout: Path, tag: str) -> None:
        """Make an OCI layout known to builds as `tag`."""
        # Podman makes a name of the path, and refuses capitals and some others in a name.
        link = self._short / "layout"
        link.symlink_to(layout.resolve())
        fetched = self._podman(
            "pull", "--quiet", f"oci:{link}", what=f"loading {layout.name}"
        ).strip()
        link.unlink()
        self._podman("tag", fetched.splitlines()[-1], tag, what=f"naming {tag}")

    def build(self, context: Path, into: Path, *, name: str) -> None:
        """Build `context`/Dockerfile and write the image to the new directory `into`."""
        tag = f"localhost/stoa-{name}:latest"
        self._podman(
            "build",
            # runc and crun refuse hybrid cgroups inside a build; a chroot is enough for COPY and RUN.
            "--isolation", "chroot",
            # Root without CAP_SYS_RESOURCE may not raise limits, which is podman's default.
            "--ulimit", "nofile=1024:1024",
            "--pull-never",
            "--timestamp", "0",
            "--format", "oci",
            "--layers=false",
            "--tag", tag,
            str(context),
            timeout=600,
            what=f"building {name} from {context}",
        )  # fmt: skip
        shutil.rmtree(into, ignore_errors=True)
        self._podman(
            "push", "--quiet", "--format", "oci", tag, f"oci:{into}:{name}", what=f"writing {name}"
        )

    def _podman(self, *argv: str, what: str, timeout: float = 300) -> str:
        return run(
            "unshare", "--mount", "--propagation", "private",
            "podman",
            "--root", str(self._root),
            "--runroot", str(self._short / "run"),
            "--tmpdir", str(self._short / "tmp"),
            "--storage-driver", "overlay",
            "--events-backend", "none",
            "--cgroup-manager", "cgroupfs",
            *argv,
            timeout=timeout,
            what=what,
        )  # fmt: skip
