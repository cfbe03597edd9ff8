"""Where the control plane is and who asks: STOA_URL and STOA_TOKEN, `stoa login`, or this machine's own."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.cli.errors import USAGE, CliError
from installer import secret_files
from runtime.wire import parsed
from settings import common, inner
from settings.site import read_file


@dataclass(frozen=True, slots=True)
class Access:
    """The address of the console and a token; host_header when it is asked under another name."""

    url: str
    token: str = field(repr=False)
    host_header: str = ""


def path() -> Path:
    """Return the file `stoa login` writes, mode 0600."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "stoa" / "login.json"


def save(url: str, token: str) -> Path:
    """Remember a login."""
    file = path()
    secret_files.write(file, json.dumps({"url": url, "token": token}) + "\n")
    return file


def access() -> Access:
    """Return address and token: from variables, the saved login, or this checkout's Stoa."""
    url, token = inner.URL.of(os.environ), inner.TOKEN.of(os.environ)
    if url and token:
        return Access(url.rstrip("/"), token)
    try:
        saved = parsed(secret_files.read(path()) or "{}")
    except ValueError as error:
        raise CliError(f"{path()} is broken; log in again: stoa login", code=USAGE) from error
    if saved:
        return Access(url.rstrip("/") or saved["url"], token or saved["token"])
    found = _here(token)
    if found is None:
        raise CliError(
            "no control plane is known: run `stoa login URL`, or set STOA_URL and STOA_TOKEN",
            code=USAGE,
        )
    return found


def _here(token: str) -> Access | None:
    """Return the access to the Stoa that bin/up of this checkout runs, if its token can be read."""
    var = Path(inner.VAR.text(os.environ))
    settings = read_file(var / "settings")
    try:
        token = token or secret_files.read(var / "operator-token")
    except OSError:
        return None
    if not token or not settings:
        return None
    url = f"http://127.0.0.1:{common.HTTP_PORT.of(settings)}"
    return Access(url, token, common.CONSOLE_HOST.of(settings))
