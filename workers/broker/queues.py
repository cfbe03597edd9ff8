"""Names on the broker that control and agents must agree on, and what an agent's broker user may touch."""

import re
from uuid import uuid4

from runtime.ids import check_host_name

CONTROL = "control"
WAKE = "wake"
SWEEP = "sweep"
OBSERVE = "observe"

_SHA256 = re.compile(r"[0-9a-f]{64}")

# What kombu, Celery's result backend and our reports send, found by experiment (`ACL LOG` stays empty); the
# sorted sets and hashes are of agents of an older version. No scripts: one that does not end stops the
# broker for everybody, and nothing here needs one (workers/broker/transport.py).
_COMMANDS = (
    "hello ping multi exec watch unwatch brpop lpush rpush llen sadd set get setex publish "
    "zadd zrem hset hget hdel del time"
)


def host_queue(name: str) -> str:
    """Return the queue, and the broker user, of a host's agent; SpecInvalidError when the name cannot be
    one.
    """
    return f"host.{check_host_name(name)}"


def edge_queue(name: str) -> str:
    """Return the queue, and the broker user, of an edge's agent; SpecInvalidError when the name cannot be
    one.
    """
    return f"edge.{check_host_name(name)}"


def new_task_id(queue: str) -> str:
    """Return an id for a call to this queue; its start is what lets the broker keep answers apart."""
    return f"{queue}.{uuid4()}"


def report_key(queue: str) -> str:
    """Return where the agent of this queue leaves its report."""
    return f"report.{queue}"


def unacked_keys(queue: str) -> tuple[str, ...]:
    """Return where agents of an older version keep what they have taken; workers/broker/transport.py does
    not.
    """
    return (f"unacked.{queue}", f"unacked_index.{queue}", f"unacked_mutex.{queue}")


def broker_acl(queue: str, password_sha256: str) -> tuple[str, ...]:
    """Return the rules of `ACL SETUSER <queue>` for the agent of this queue, one argument each.

    password_sha256: 64 hexadecimal digits. The rules replace whatever the user could do before.
    Raises ValueError when either cannot be right, so that nothing unintended reaches Redis.
    """
    kind, _, name = queue.partition(".")
    if kind not in {"host", "edge"}:
        raise ValueError(f"queue is {queue!r}; an agent's queue is host.<name> or edge.<name>")
    check_host_name(name)
    if not _SHA256.fullmatch(password_sha256):
        raise ValueError("password_sha256 must be 64 hexadecimal digits in lower case")
    keys = (
        queue,
        *unacked_keys(queue),
        f"_kombu.binding.{queue}",
        f"_kombu.binding_permanent.{queue}",
        f"celery-task-meta-{queue}.*",
        report_key(queue),
    )
    return (
        "reset",
        "on",
        f"#{password_sha256}",
        *(f"~{key}" for key in keys),
        f"&celery-task-meta-{queue}.*",
        "-@all",
        *(f"+{command}" for command in _COMMANDS.split()),
    )
