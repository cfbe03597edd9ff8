"""Keeps every agent's share of the broker small, so that no single one can fill it for all.

An agent may write to a few keys of its own, and a host that was broken into writes what it likes there.
Each round measures all of them, whatever their type, and deletes the largest of an agent that has too much.
Answers that would stay for ever are given the life that answers have.

Whoever reaches the port may connect, and needs no password to stay. When half of all places are taken,
those who have not logged in are sent away: an agent that is just doing so comes again at once.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tenants.core import alarms
from tenants.core.alarm_kinds import BROKER_CROWD, BROKER_SHARE
from workers.broker.commands import broker
from workers.leases.periodic import once

# A report and eight answers of their largest size do not come at once; and most are a few kilobytes.
MOST_BYTES = 24 * 1024 * 1024
MOST_KEYS = 500
ANSWER_LIVES_SECONDS = 300
_AT_ONCE = 500

# Every key of an agent has the name of its queue in it (queues.broker_acl); so has its owner's.
_OWNED = re.compile(
    rb"(?:(?:unacked|unacked_index|unacked_mutex|report|_kombu\.binding|_kombu\.binding_permanent)\."
    rb"|celery-task-meta-)?((?:host|edge)\.[a-z0-9-]+)(?:\..*)?",
    re.DOTALL,
)
_ANSWER = b"celery-task-meta-"


@dataclass(frozen=True, slots=True)
class BrokerKey:
    """One key of an agent's."""

    key: bytes
    size_bytes: int


@once("bound_broker")
def bound_broker() -> str:
    """Measure what agents hold, delete what is beyond their share, and say whose it was."""
    held: dict[str, list[BrokerKey]] = defaultdict(list)
    owned = {
        key: found.group(1).decode()
        for key in broker().scan_iter(count=1000)
        if (found := _OWNED.fullmatch(key))
    }
    keys = list(owned)
    for start in range(0, len(keys), _AT_ONCE):
        for item in _measured(keys[start : start + _AT_ONCE]):
            held[owned[item.key]].append(item)
    greedy: dict[str, str] = {}
    for queue, items in sorted(held.items()):
        beyond = too_much(items)
        if beyond:
            broker().unlink(*[item.key for item in beyond])
            size = sum(item.size_bytes for item in items)
            greedy[BROKER_SHARE.key(*queue.split("."))] = (
                f"{queue} held {len(items)} keys and {size} bytes on the broker; {len(beyond)} were "
                f"deleted. An agent may hold {MOST_KEYS} keys and {MOST_BYTES} bytes. Check this agent"
            )
    sent_away = close_strangers()
    if sent_away:
        greedy[BROKER_CROWD.key()] = (
            f"more than half of the broker's connections were in use; {sent_away} that had not logged in "
            "were closed. Check who connects to its port, and let only hosts reach it"
        )
    alarms.keep("broker", greedy)
    return f"{len(greedy)} agents held too much, or strangers" if greedy else ""


def close_strangers() -> int:
    """Close the connections that have not logged in, when there is a crowd; how many."""
    clients = broker().info("clients")
    if 2 * int(clients["connected_clients"]) < int(clients["maxclients"]):
        return 0
    # Everybody who has logged in is somebody else: the user `default` is off (deploy/run-redis).
    return int(broker().execute_command("CLIENT", "KILL", "USER", "default"))  # type: ignore[no-untyped-call]


def too_much(items: Iterable[BrokerKey]) -> list[BrokerKey]:
    """Return what must go so that the rest is an agent's share: the largest first; pure."""
    kept = sorted(items, key=lambda item: item.size_bytes)
    size = sum(item.size_bytes for item in kept)
    gone: list[BrokerKey] = []
    while kept and (size > MOST_BYTES or len(kept) > MOST_KEYS):
        gone.append(kept.pop())
        size -= gone[-1].size_bytes
    return gone


def _measured(keys: Sequence[bytes]) -> list[BrokerKey]:
    """Return the size of each key that is still there, counted over all its elements, never read."""
    with broker().pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.memory_usage(key, samples=0)
            pipe.ttl(key)
        answers: list[Any] = pipe.execute(raise_on_error=False)
    found: list[BrokerKey] = []
    endless: list[bytes] = []
    for key, size, ttl in zip(keys, answers[::2], answers[1::2], strict=True):
        if isinstance(size, int):
            found.append(BrokerKey(key, size))
            if ttl == -1 and key.startswith(_ANSWER):
                endless.append(key)
    if endless:
        with broker().pipeline(transaction=False) as pipe:
            for key in endless:
                pipe.expire(key, ANSWER_LIVES_SECONDS)
            pipe.execute()
    return found
