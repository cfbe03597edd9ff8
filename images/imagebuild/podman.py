"""Builds a directory with a Dockerfile into an OCI layout, with podman and without a registry.

All of podman's state lies in directories of our own: `--root` and `--runroot` alone are not
enough, it also keeps host-wide state under its `--tmpdir`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .commands import run

BASE_TAG = "localhost/stoa-base:latest"


class Podman:
    """One private podman store below `state`; keep one user of it at a time."""

    def __init__(self, state: Path) -> None:
        self._state = state
        for name in ("root", "run", "tmp"):
            (state / name).mkdir(parents=True, exist_ok=True)

    def load(self, layout: Path, tag: str) -> None:
        """Make an OCI layout known to builds as `tag`."""
        fetched = self._run(
            "pull", "--quiet", f"oci:{layout}", what=f"loading {layout.name}"
        ).strip()
        self._run("tag", fetched.splitlines()[-1], tag, what=f"naming {tag}")

    def build(self, context: Path, into: Path, *, name: str) -> None:
        """Build `context`/Dockerfile and write the image to the new directory `into`."""
        tag = f"localhost/stoa-{name}:latest"
        self._run(
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
        self._run(
            "push", "--quiet", "--format", "oci", tag, f"oci:{into}:{name}", what=f"writing {name}"
        )
        self._run("image", "prune", "--force", what="clearing the build store")

    def _run(self, *argv: str, what: str, timeout: float = 300) -> str:
        return run(
            "podman",
            "--root", str(self._state / "root"),
            "--runroot", str(self._state / "run"),
            "--tmpdir", str(self._state / "tmp"),
            "--storage-driver", "overlay",
            "--events-backend", "none",
            "--cgroup-manager", "cgroupfs",
            *argv,
            timeout=timeout,
            what=what,
        )  # fmt: skip
