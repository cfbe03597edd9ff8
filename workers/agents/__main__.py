"""Starts an agent: `python -m workers.agents host` or `python -m workers.agents edge`.

The same as `celery -A workers.agents.host.main:app worker -Q host.<name> --pool threads …`, without
Celery's command line, whose imports alone are 10 MB of memory on every host and edge.
"""

import importlib
import socket
import sys

# A thread that has waited for a file or an answer gets its turn after this, not after Python's 5 ms. With
# thousands of instances a report is tens of thousands of small files, and starts keep other threads busy.
TURN_SECONDS = 0.0005
AGENTS = {"host": "workers.agents.host.main", "edge": "workers.agents.edge.main"}


def main(argv: list[str]) -> int:
    """Run the agent named by the first argument until it is asked to end; return its exit code."""
    if len(argv) != 1 or argv[0] not in AGENTS:
        sys.stderr.write("usage: python -m workers.agents host|edge\n")
        return 2
    sys.setswitchinterval(TURN_SECONDS)
    app = importlib.import_module(AGENTS[argv[0]]).app
    queue = app.conf.task_default_queue
    worker = app.Worker(
        hostname=f"{queue}@{socket.gethostname()}",
        queues=[queue],
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
