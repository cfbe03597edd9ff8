"""Puts the parts together: settings, database, application, server; then serves until TERM."""

from __future__ import annotations

import gc
import posix
import sys

from .app import Application
from .config import Config, SettingError
from .server import Server
from .store import Store


def main() -> int:
    """Serve until TERM or INT. Returns the exit code: 0 done, 2 a setting is wrong, 1 no data."""
    posix.umask(0o077)
    try:
        config = Config(posix.environ)
    except SettingError as error:
        sys.stderr.write(f"shop: {error}\n")
        return 2
    try:
        store = Store(config)
    except Exception as error:  # noqa: BLE001 - _sqlite3.Error or OSError, said in one line either way
        sys.stderr.write(f"shop: the data at {config.data}/shop.db cannot be opened: {error}\n")
        return 1
    server = Server(config.port, Application(config, store))
    gc.collect()
    gc.freeze()  # what is here now stays: later collections need not walk over it
    sys.stdout.write(f"serving {config.tenant} on port {server.port}\n")
    sys.stdout.flush()
    server.serve()
    store.close()
    return 0
