"""The one door to other programs, so that a missing or failing one is named with its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REMEDY = {
    "unshare": "install it with: apt-get install -y util-linux",
    "apt-get": "this build makes its base from Debian packages: run it on Debian or Ubuntu",
    "dpkg": "this build makes its base from Debian packages: run it on Debian or Ubuntu",
    "dpkg-deb": "this build makes its base from Debian packages: run it on Debian or Ubuntu",
    "podman": "install it with: apt-get install -y podman crun",
    "ldconfig": "install it with: apt-get install -y libc-bin",
    "chroot": "install it with: apt-get install -y coreutils",
}


class BuildError(Exception):
    """The image was not built; the message says what failed and what would help."""


def run(
    *argv: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 300,
    what: str = "",
) -> str:
    """Run a program to its end and return its standard output; BuildError when it cannot be done.

    `what` says in words what was being done, for the error; `timeout` is in seconds.
    """
    if shutil.which(argv[0]) is None:
        raise BuildError(f"the program '{argv[0]}' is missing; {REMEDY.get(argv[0], 'install it')}")
    purpose = what or " ".join(argv[:2])
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{purpose}: no end after {timeout:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise BuildError(f"{purpose}: '{argv[0]}' ended with {done.returncode}\n{tail}")
    return done.stdout
