"""Makes the base's root file system: packages in, pruned, completed, bytecode compiled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .commands import BuildError, run
from .debian import fetch, unpack
from .prune import STDLIB, merge_usr, prune

USER_ID = 10001  # `shop`: the image's ordinary user, far from ids a host gives to people

ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    f"shop:x:{USER_ID}:{USER_ID}:shop:/data:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\nshop:x:{USER_ID}:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm), Python base of Stoa"\n'
    'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION="12 (bookworm)"\n'
    "VERSION_CODENAME=bookworm\nID=debian\n",
    # Mount points an engine fills in; they must exist where the root is read-only.
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/hostname": "",
    "etc/resolv.conf": "",
}
DIRECTORIES = ("data", "dev", "proc", "root", "run", "sys", "tmp", "var/tmp")

COMPILE = f"""
import compileall, py_compile, sys
ok = compileall.compile_dir(
    "/{STDLIB}", quiet=1, legacy=True, optimize=2, maxlevels=20,
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
sys.exit(0 if ok else 1)
"""


def make_rootfs(root: Path, packages: Path) -> None:
    """Fill the empty directory `root`; `packages` is where downloads are kept. Needs root."""
    if os.geteuid() != 0:
        raise BuildError("the base image is built as root (files of several owners); use sudo")
    unpack(fetch(packages), root)
    merge_usr(root)
    prune(root)
    _complete(root)
    _compile(root)


def _complete(root: Path) -> None:
    for name, content in ETC.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "data").chmod(0o750)
    os.chown(root / "data", USER_ID, USER_ID)
    for name in ("python3", "python"):
        (root / "usr/bin" / name).symlink_to("python3.11")
    (root / "bin").unlink(missing_ok=True)
    (root / "bin").symlink_to("usr/bin")
    _bundle_certificates(root)


def _bundle_certificates(root: Path) -> None:
    """One file of trusted roots where OpenSSL looks first, instead of 140 files and a script."""
    source = root / "usr/share/ca-certificates"
    parts = [path.read_text() for path in sorted(source.rglob("*.crt"))]
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(parts))
    shutil.rmtree(source)
    (root / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")


def _compile(root: Path) -> None:
    """Replace the library's sources by bytecode beside where they were.

    `module.pyc` without a source is found first and read without a stat of the source;
    no docstrings (optimize=2) and no column tables (no_debug_ranges): less to read and to keep.
    """
    run(
        "chroot", str(root), "/usr/bin/python3.11", "-s", "-S", "-X", "no_debug_ranges", "-c", COMPILE,
        env={"PYTHONHASHSEED": "0", "LD_LIBRARY_PATH": ""},
        what="compiling the standard library",
    )  # fmt: skip
    for path in sorted((root / STDLIB).rglob("*")):
        if path.suffix == ".py":
            path.unlink()
        elif path.name == "__pycache__":
            shutil.rmtree(path)
    run("ldconfig", "-r", str(root), "-X", what="writing the loader's cache")
    shutil.rmtree(root / "var/cache", ignore_errors=True)
