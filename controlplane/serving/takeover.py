"""How web, depot and events take up new code and other settings without refusing anybody.

On SIGHUP the process executes itself anew, as the supervisor would start it now (bin/stoa-env reads the
settings), and keeps its open sockets: new clients wait in their queues for a moment. The workers of before
serve until a new one is ready, and then finish what they have begun. Read by gunicorn
(-c python:controlplane.serving.takeover).
"""

import fcntl
import os
import shlex
import signal
from configparser import RawConfigParser
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from settings import inner

# By systemd's convention sockets are handed over from this number on; gunicorn knows it.
_FIRST_FD = 3
_KEPT = ("PATH", "HOME", "LANG", inner.VAR.name, inner.CACHE.name)
_OLD = inner.OLD_WORKERS.name


def on_reload(server: Any) -> None:
    """Execute the program anew; where no supervisor of ours runs it, let gunicorn reload as it does."""
    argv = _command(inner.VAR.of(os.environ) / "run" / "supervisord.conf")
    if not argv:
        return
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    old = [f"{pid}:{_started(pid)}" for pid in server.WORKERS]
    # Above whatever is open first: the numbers wanted may be those of other sockets.
    fds = [fcntl.fcntl(listener.sock.fileno(), fcntl.F_DUPFD, 200) for listener in server.LISTENERS]
    for number, fd in enumerate(fds, start=_FIRST_FD):
        os.dup2(fd, number, inheritable=True)
        os.close(fd)
    sockets = {"LISTEN_FDS": str(len(fds)), "LISTEN_PID": str(os.getpid())}
    os.execve(argv[0], argv, kept | sockets | {_OLD: ",".join(old)})  # noqa: S606 - argv only


def post_worker_init(worker: Any) -> None:
    """A worker is ready: those of before the takeover may finish."""
    _warm(worker)
    _count()
    for entry in os.environ.get(_OLD, "").split(","):
        pid, _, started = entry.partition(":")
        # By its start as well: in a later worker's time the number may be another process's.
        if pid and started and _started(int(pid)) == started:
            worker.log.info("worker %s of before the takeover finishes", pid)
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)


def _warm(worker: Any) -> None:
    """Load what the first request would load: under load that took ten seconds, and people waited.

    And have the threads that answer people connect to the database.
    """
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        return  # another application than ours

    from django.conf import settings
    from django.db import connection
    from django.urls import get_resolver

    from controlplane.database.warm import warm

    _ = get_resolver().reverse_dict  # imports every view
    application = getattr(worker, "wsgi", None)
    if settings.STOA_PROGRAM == "web" and application is not None:
        front: dict[str, Any] = {"HTTP_HOST": settings.STOA_CONSOLE_HOST}
        setup_testing_defaults(front)
        b"".join(application(front, lambda *_: None))
        connection.close()  # this thread will ask nothing any more
        warm(worker.tpool.submit, worker.cfg.threads)


def _count() -> None:
    """Have the worker add what it counts to the sums of /metrics."""
    if "DJANGO_SETTINGS_MODULE" in os.environ:
        from controlplane.monitoring.metric_shipping import begin_shipping

        begin_shipping()


def _command(configuration: Path) -> list[str]:
    """Return what the supervisor's configuration runs for this program now; [] without one."""
    parser = RawConfigParser()
    parser.read(configuration)
    return shlex.split(
        parser.get(f"program:{inner.PROGRAM.of(os.environ)}", "command", fallback="")
    )


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks after boot; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
