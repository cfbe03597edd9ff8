"""Small files, written in one step. They hold credentials, and are readable by their owner only."""

import base64
import os
import pwd
import secrets
import shutil
from pathlib import Path

_BYTES = 32


def ensure(path: Path, *, owner: str = "") -> str:
    """Return this file's secret; a new random one (mode 0600) when there is none. owner: a new file's."""
    secret = read(path)
    if not secret:
        # With its padding: the form suits Fernet, URLs and headers alike.
        secret = base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).decode()
        write(path, secret + "\n")
    if owner:
        shutil.chown(path, owner, pwd.getpwnam(owner).pw_gid)
    return secret


def read(path: Path) -> str:
    """Return the file's content, stripped; "" if there is no file."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def write(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace the file in one step; it is never there with a wider mode or half written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
