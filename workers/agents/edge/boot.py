"""Starts HAProxy: `python -m workers.agents.edge.boot` brings its files up to date and becomes HAProxy.

The public port opens only with a full table: the control plane's, or, when that does not answer, what
this edge kept on its disk. With neither it waits, because visitors of a shop that
is missing from the map would be refused. It writes the map file only; the table on disk belongs to the
agent, which compares HAProxy's map with it as soon as HAProxy is up.
"""

import logging
import os
import resource
import sys
import time
from collections.abc import Callable

from runtime.edge import install
from runtime.edge.config import EdgeConfig, edge_config
from runtime.edge.edge import FullTable
from runtime.edge.store import RouteStore
from runtime.errors import RuntimeCoreError
from workers.agents.common.control_http import control_plane

log = logging.getLogger("stoa.edge_boot")

PATIENCE_SECONDS = (
    5.0  # for a control plane that may just be starting, while the disk holds a table
)
_PAUSE_SECONDS = 0.25


def main() -> int:
    """Get the table, write and check the files, become HAProxy; returns only when that failed."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        config = edge_config(os.environ, descriptors=descriptors)
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        source = control_plane(os.environ, edge_name=config.name)
        wanted = first_table(config, lambda: source.route_table(timeout_seconds=5))
        install.write_files(config, wanted=wanted)
        install.check(config)
    except RuntimeCoreError as error:
        log.error("HAProxy cannot start: %s", error.message)
        return 1
    install.become_haproxy(config)
    return 1


def first_table(
    config: EdgeConfig,
    fetch: Callable[[], FullTable],
    *,
    patience: float = PATIENCE_SECONDS,
    pause: float = _PAUSE_SECONDS,
) -> dict[str, str]:
    """Return the map's first content. Asks the control plane, for `patience` seconds if the disk knows a
    table.

    With nothing on disk it asks until it gets an answer.
    """
    deadline = time.monotonic() + patience
    said = ""
    while True:
        try:
            full = fetch()
            routes, refused = full.sort_out(config)
            for hostname, why in refused.items():
                log.warning("the route of %s is left out: %s", hostname, why.message)
            return {route.hostname: route.value for route in routes if route.value}
        except RuntimeCoreError as error:
            if error.message != said:
                said = error.message
                log.warning("waiting for the control plane: %s", said)
        kept = RouteStore(config.state_dir).load() if time.monotonic() >= deadline else None
        if kept is not None:
            log.warning("starting with the %d routes kept on disk", len(kept))
            return kept.wanted()
        time.sleep(pause)


if __name__ == "__main__":
    sys.exit(main())
