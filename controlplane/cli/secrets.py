"""Reads a secret from where no other process sees it."""

import sys
from getpass import getpass
from pathlib import Path

from controlplane.cli.errors import USAGE, CliError


def read_secret(what: str, file: str) -> str:
    """Return the secret in a file (- for stdin); asked for when no file is named."""
    try:
        if file and file != "-":
            text = Path(file).read_text()
        elif file == "-" or not sys.stdin.isatty():
            text = sys.stdin.readline()
        else:
            text = getpass(f"{what}: ")
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}", code=USAGE) from error
    if not text.strip():
        raise CliError(f"no {what} was given", code=USAGE)
    return text.strip()
