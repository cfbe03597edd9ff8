"""Puts on disk what HAProxy needs to start, and has HAProxy itself check it."""

import os
from collections.abc import Mapping

from runtime.commands import run
from runtime.edge import haproxy_cfg, pages
from runtime.edge.config import EdgeConfig
from runtime.edge.store import write_atomically, write_map


def write_files(config: EdgeConfig, *, wanted: Mapping[str, str]) -> None:
    """Write configuration, pages and map; wanted is the map's content, hostname → value."""
    page_dir = config.state_dir / "pages"
    page_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in pages.files(config).items():
        write_atomically(page_dir / name, content)
    write_map(config.map_path, dict(wanted))
    write_atomically(config.cfg_path, haproxy_cfg.render(config))


def check(config: EdgeConfig) -> None:
    """Let HAProxy read the files without starting; CommandFailedError holds what it does not like."""
    run("haproxy", "-c", "-q", "-f", str(config.cfg_path), timeout=30)


def become_haproxy(config: EdgeConfig) -> None:
    """Replace this process by HAProxy; never returns."""
    os.execvp("haproxy", ["haproxy", "-W", "-db", "-f", str(config.cfg_path)])  # noqa: S606 - argv only
