"""The agent of an edge: `celery -A workers.agents.edge.main:app worker -Q edge.<name> --pool threads`.

Celery reads the name `app` from here; everything that acts is made when the worker begins, so that
importing this module touches nothing.
"""

import os
import resource

from runtime.edge.config import edge_config
from runtime.edge.edge import FullTable, HaproxyEdge
from runtime.edge.hold import HoldService
from workers.agents.common import boot
from workers.agents.common.app import create_app
from workers.agents.common.control_http import control_plane
from workers.agents.common.envelope import Envelope
from workers.agents.common.reporter import Reporter
from workers.agents.common.serving import serve
from workers.agents.edge.handlers import EdgeCalls
from workers.agents.edge.watch import EdgeWatch
from workers.broker.queues import edge_queue

_config = edge_config(os.environ, descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1])
_queue = edge_queue(_config.name)
app = create_app(_queue, broker_url=boot.broker_url(os.environ))


class _Agent:
    """What a booted agent holds; made once, before the first call can arrive."""

    def __init__(self) -> None:
        self.lock = boot.lock_state(_config.state_dir)
        _raise_file_limit()
        self.hold = HoldService(_config, lookup=self._lookup)
        self.edge = HaproxyEdge(_config, on_change=self.hold.changed)
        try:
            self.hold.start()
        except OSError as error:
            raise SystemExit(
                f"the hold service cannot have port {_config.hold_port}: {error}; "
                "another Stoa may use it: give this one another STOA_PORT_BASE"
            ) from error
        # Before the broker is there: a waiting HAProxy and held requests do not depend on it.
        self.watch = EdgeWatch(self.edge, fetch=_fetch)
        self.watch.start()
        url = str(app.conf.broker_url)
        boot.clear_queue(url, _queue)
        self.calls = EdgeCalls(self.edge, fetch=_fetch)
        self.reporter = Reporter(
            url, _queue, boot_id=boot.new_boot_id(), collect=self.watch.collect
        )

    def answer(self, message: object) -> Envelope:
        """Carry out one call on this edge and answer with an envelope."""
        return self.calls.call(message)

    def start(self) -> None:
        """Begin to report."""
        self.reporter.start()

    def stop(self) -> None:
        """Take the report back, and end the watch and the hold service."""
        self.reporter.stop()
        self.watch.stop()
        self.hold.stop()

    def _lookup(self, hostname: str) -> str:
        return self.edge.lookup(hostname)


def _fetch(seconds: float) -> FullTable:
    source = control_plane(os.environ, edge_name=_config.name)
    return source.route_table(timeout_seconds=seconds)


def _raise_file_limit() -> None:
    """Each held request is a connection to the hold service."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _config.held_total + 512)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


serve(app, "edge.call", _Agent)
