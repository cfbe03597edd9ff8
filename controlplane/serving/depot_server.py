"""How gunicorn runs `depot`: TLS by the pool's CA, and many threads, none of which waits for a slow client.

Read by gunicorn (-c python:controlplane.serving.depot_server); addresses and certificate come from the
environment.
"""

import os
import ssl
from collections.abc import Callable
from typing import Any

from controlplane.serving.takeover import on_reload, post_worker_init
from settings import inner

__all__ = ["on_reload", "post_worker_init", "ssl_context"]

THREADS = 40

bind = inner.DEPOT_BIND.of(os.environ).split(",")
certfile = str(inner.DEPOT_CERT.of(os.environ) or "")
keyfile = str(inner.DEPOT_KEY.of(os.environ) or "")
worker_class = "controlplane.serving.worker.DoorWorker"
workers = 2
threads = THREADS
worker_connections = 1000
timeout = 60
graceful_timeout = 5
keepalive = 5
limit_request_line = 8190
limit_request_fields = 220
limit_request_field_size = 33000
sendfile = False
worker_tmp_dir = "/dev/shm"  # noqa: S108 - a heartbeat file that gunicorn opens and unlinks at once
control_socket_disable = True

_contexts: dict[tuple[int, ...], ssl.SSLContext] = {}


def ssl_context(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """TLS 1.2 at least; read again when its files change, so that a renewed certificate needs no restart."""
    written = tuple(os.stat(file).st_mtime_ns for file in (config.certfile, config.keyfile))  # noqa: PTH116
    if written not in _contexts:
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _contexts.clear()
        _contexts[written] = context
    return _contexts[written]
