"""Puts on disk what HAProxy needs, has HAProxy itself check it, and brings it to one that runs.

A running HAProxy is never restarted for other configuration: its master starts new workers from the new
files and hands them the open ports, and the old ones finish what they have begun.
"""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from runtime.edge import haproxy_cfg, pages
from runtime.edge.config import EdgeConfig
from runtime.edge.haproxy_socket import HaproxySocket
from runtime.edge.store import write_atomically, write_map
from runtime.errors import HostError
from runtime.system.commands import run
from runtime.system.files import make_directory

TAKE_OVER_SECONDS = 5.0  # a worker reads a large map and opens its ports; usually 0.2 s
TRIES = 2
MOST_OLD_WORKERS = 4  # each keeps a map and its connections until haproxy_cfg.HARD_STOP_SECONDS
_LOOK_SECONDS = 0.05


def write_files(config: EdgeConfig, *, wanted: Mapping[str, str]) -> None:
    """Write configuration, pages and map; wanted is the map's content, hostname → value."""
    write_map(config.map_path, dict(wanted))
    _write_configuration(config)


def check(config: EdgeConfig) -> None:
    """Let HAProxy read the files without starting; CommandFailedError holds what it does not like."""
    run("haproxy", "-c", "-f", str(config.cfg_path), timeout=30)


def become_haproxy(config: EdgeConfig) -> None:
    """Replace this process by HAProxy; never returns."""
    note_loaded(config)
    os.execvp("haproxy", command(config))  # noqa: S606 - argv only


def command(config: EdgeConfig) -> list[str]:
    """HAProxy as a master that stays in the foreground, with a socket of its own beside the worker's."""
    master = f"{config.master_path},mode,600"
    return ["haproxy", "-W", "-db", "-S", master, "-f", str(config.cfg_path)]


def note_loaded(config: EdgeConfig) -> None:
    """Write down that HAProxy has, or is about to have, read the files of this code and these settings."""
    write_atomically(_loaded(config), fingerprint(config))


def is_loaded(config: EdgeConfig) -> bool:
    """Return whether the HAProxy that runs was started, or reloaded, with the files of this code and
    settings.
    """
    try:
        return _loaded(config).read_text() == fingerprint(config)
    except FileNotFoundError:
        return False


def fingerprint(config: EdgeConfig) -> str:
    """SHA-256 over all that HAProxy reads at its start, the map apart."""
    found = sha256(haproxy_cfg.render(config).encode())
    for name, content in sorted(pages.files(config).items()):
        found.update(name.encode())
        found.update(content.encode() if isinstance(content, str) else content)
    for program in sorted(Path(__file__).parent.glob("*.lua")):
        found.update(program.read_bytes())
    return found.hexdigest()


def reload(config: EdgeConfig, proxy: HaproxySocket) -> None:
    """Have the running HAProxy read its files anew; returns once a new worker serves. The map file must
    be up to date, and nobody may change the map meanwhile.

    Raises HostError while HAProxy is away or does not take the files, then the old worker goes on.
    """
    before = proxy.process_id()
    if len(proxy.old_workers()) >= MOST_OLD_WORKERS:
        raise HostError(f"HAProxy still ends {MOST_OLD_WORKERS} workers of earlier reloads")
    _write_configuration(config)
    check(config)
    for _ in range(TRIES):  # a master that is just starting loses the signal
        os.kill(_master_of(before), signal.SIGUSR2)
        if _is_taken_over(proxy, before):
            note_loaded(config)
            return
    raise HostError(
        "HAProxy did not take its new configuration and goes on with the old one; its log says why"
    )


def _write_configuration(config: EdgeConfig) -> None:
    page_dir = config.state_dir / "pages"
    make_directory(page_dir)
    for name, content in pages.files(config).items():
        write_atomically(page_dir / name, content)
    write_atomically(config.cfg_path, haproxy_cfg.render(config))


def _is_taken_over(proxy: HaproxySocket, before: int) -> bool:
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    while time.monotonic() < deadline:
        with suppress(HostError):  # for a moment neither worker has the socket
            if proxy.process_id() not in (0, before):
                return True
        time.sleep(_LOOK_SECONDS)
    return False


def _master_of(worker: int) -> int:
    """Return the process that started the worker; HostError when that is no HAProxy."""
    try:
        stat = Path(f"/proc/{worker}/stat").read_text()
        master = int(stat.rpartition(")")[2].split()[1])
        name = Path(f"/proc/{master}/comm").read_text().strip()
    except OSError as error:
        raise HostError(f"HAProxy's worker {worker} has just ended") from error
    if name != "haproxy":
        raise HostError(f"HAProxy's worker {worker} has no master: its parent is {name}")
    return master


def _loaded(config: EdgeConfig) -> Path:
    return config.state_dir / "loaded"
