"""What all benches take (--quick, --json FILE, --install), and what each needs of the machine.

What is missing ends a bench before it has begun, with exit code 2 and the command that brings it.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from installer.machine import packages as debian
from installer.progress import InstallError

# What must be there → the Debian package that brings it. A path, or the name of a program.
PACKAGES = {
    "/bin/busybox": "busybox-static",
    "crun": "crun",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "mkfs.btrfs": "btrfs-progs",
    "newuidmap": "uidmap",
    "nft": "nftables",
    "nginx": "nginx-light",
    "podman": "podman",
    "runc": "runc",
    "skopeo": "skopeo",
    "tar": "tar",
    "zstd": "zstd",
}
# A host of Stoa's own, with images built for it.
HOST = ("crun", "ip", "nft", "podman", "skopeo", "newuidmap", "zstd")
PEERS = ("docker", "dockerd", "podman")
_FOLDERS = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


class Parser(argparse.ArgumentParser):
    """Reads a bench's words; afterwards everything it needs is there, or it has ended with exit code 2."""

    def __init__(
        self,
        text: str | None,
        *,
        quick: str,
        needs: Sequence[str] = (),
        peers: Sequence[str] = (),
        extras: Sequence[str] = (),
        is_root: bool = True,
    ) -> None:
        """quick: what is smaller then. needs: keys of PACKAGES. peers: further ones, not with --only-stoa.

        extras: further ones that the bench can do without; only --install asks for them.
        """
        super().__init__(description=(text or "").split("\n", 1)[0])
        self._needs, self._peers, self._extras = tuple(needs), tuple(peers), tuple(extras)
        self._is_root = is_root
        self.add_argument("--quick", action="store_true", help=f"under a minute: {quick}")
        self.add_argument("--json", default="", metavar="FILE", help="also keep the result in FILE")
        if needs or peers or extras:
            self.add_argument(
                "--install", action="store_true", help="install missing Debian packages (as root)"
            )
        if peers:
            self.add_argument("--only-stoa", action="store_true", help="leave the peers out")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options."""
        options = self.parse_args(argv)
        folder = Path(options.json or ".").resolve().parent
        if options.json and not folder.is_dir():
            self.error(f"--json: there is no directory {folder}")
        needs = self._needs + (() if getattr(options, "only_stoa", False) else self._peers)
        needs += self._extras if getattr(options, "install", False) else ()
        packages = missing(needs)
        if packages and options.install:
            install(packages)
            packages = missing(needs)
        if packages:
            self.exit(
                2,
                f"{self.prog}: this machine lacks {', '.join(packages)}\n"
                f"  apt-get install {' '.join(packages)}, or the same bench with --install\n",
            )
        if self._is_root and os.geteuid() != 0:
            self.exit(2, f"{self.prog}: this must run as root: it makes namespaces and cgroups\n")
        return options


def missing(needs: Sequence[str]) -> list[str]:
    """The packages that would bring what is not there."""
    return sorted({PACKAGES[need] for need in needs if not shutil.which(need, path=_FOLDERS)})


def install(packages: Sequence[str]) -> None:
    """As bin/up installs: services do not start by being installed. Ends the bench when that fails."""
    print(f"· installing {', '.join(packages)}", flush=True)
    try:
        debian.install(packages)
    except InstallError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
