"""Small files with credentials, readable by their owner only: written once, read by the programs' own."""

import os
import secrets
from pathlib import Path


def ensure(path: Path) -> str:
    """The secret in this file; a new random one (mode 0600) when there is none."""
    try:
        kept = path.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        return kept
    secret = secrets.token_urlsafe(32)
    write(path, secret + "\n")
    return secret


def read(path: Path) -> str:
    """Return the file's content, stripped; "" if there is no file."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def write(path: Path, text: str) -> None:
    """Replace the file in one step; it is never there with a wider mode or half written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
