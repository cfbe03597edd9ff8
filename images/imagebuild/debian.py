"""Fetches and unpacks the Debian packages the base image is made of; nothing gets installed."""

from __future__ import annotations

from pathlib import Path

from .commands import BuildError, run

PACKAGES = (
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "python3.11-minimal",
    "zlib1g",
)


def fetch(into: Path) -> list[Path]:
    """Download PACKAGES into a directory with the machine's own apt; returns the .deb files by name."""
    into.mkdir(parents=True, exist_ok=True)
    # Without `_apt` owning the directory, apt only prints a warning; root downloads as root.
    argv = ("apt-get", "-o", "APT::Sandbox::User=root", "-qq", "download", *PACKAGES)
    try:
        run(*argv, cwd=into, what="downloading the base's packages")
    except BuildError:
        run("apt-get", "-qq", "update", what="reading the package lists")
        run(*argv, cwd=into, what="downloading the base's packages")
    return sorted(into.glob("*.deb"))


def unpack(debs: list[Path], root: Path) -> None:
    """Unpack packages over each other into `root`, with a note of each where scanners look.

    The layout of the notes (var/lib/dpkg/status.d) is what image scanners read on images without dpkg.
    """
    notes = root / "var/lib/dpkg/status.d"
    notes.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        run("dpkg", "-x", str(deb), str(root), what=f"unpacking {deb.name}")
        fields = run("dpkg-deb", "-f", str(deb), what=f"reading {deb.name}")
        name = next(line[9:] for line in fields.splitlines() if line.startswith("Package: "))
        (notes / name).write_text(fields + "\n")
