"""How gunicorn runs `depot`: TLS by the pool's CA, many threads, and a bound on every wait for the network.

Read by gunicorn (-c python:controlplane.depot_server); addresses and certificate come from the environment.
"""

import os
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

from controlplane.takeover import on_reload, post_worker_init

__all__ = ["on_reload", "post_worker_init", "ssl_context", "when_ready"]

THREADS = 40
# No byte for so long, in either direction: the other side is gone, and its thread is wanted.
SILENT_SECONDS = 30

bind = os.environ.get("STOA_DEPOT_BIND", "127.0.0.1:18806").split(",")
certfile = os.environ.get("STOA_DEPOT_CERT", "")
keyfile = os.environ.get("STOA_DEPOT_KEY", "")
worker_class = "gthread"
workers = 2
threads = THREADS
worker_connections = 1000
timeout = 60
graceful_timeout = 5
keepalive = 5
worker_tmp_dir = "/dev/shm"  # noqa: S108 - a heartbeat file that gunicorn opens and unlinks at once
control_socket_disable = True


def ssl_context(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """TLS 1.2 at least; read per connection, so that a renewed certificate needs no restart."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def when_ready(server: Any) -> None:
    """Bound the waits by the kernel: sockets that are accepted inherit it, also while they shake hands."""
    limit = struct.pack("ll", SILENT_SECONDS, 0)
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
