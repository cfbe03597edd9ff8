"""How this process takes part in the line of starts: one operation after another, while there are slots.

A worker that has ended an operation takes the next one itself, at once, without a message in between.
Operations that wait hold no thread.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tenants import dispatch
from tenants.services import line
from tenants.services.leases import Lease
from tenants.states import URGENT_VERBS, Verb
from workers.flows import run
from workers.flows.hands import Hands
from workers.pool_snapshot import FRESH_SECONDS
from workers.scheduler.load import DEFAULT

# As many as deploy/supervisord.conf.in and deploy/compose/enter give the program `control` (-c).
THREADS = 16
# The hosts that report are counted again after this long: the bound need not be exact.
COUNT_SECONDS = 1.0
# Two that found their hosts busy in a row: the others would hardly fare better at this moment.
MOST_BUSY = 2
# Then the thread goes back to the queue, in which other work may wait.
MOST_AT_ONCE = 50

_SLOW_VERBS = frozenset({*URGENT_VERBS, Verb.MOVE})


class _Process:
    """What this process knows: how many slots there are, and how many of its hands do slow work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots = 0
        self._counted_at = -COUNT_SECONDS
        self._slow = 0

    def slots(self) -> int:
        """Start slots of the whole pool; one host's at least, so that somebody finds out why."""
        with self._lock:
            is_old = time.monotonic() - self._counted_at >= COUNT_SECONDS
            if is_old:
                self._counted_at = time.monotonic()
        if is_old:
            self._slots = DEFAULT.starts_per_host * max(1, line.hosts_heard(FRESH_SECONDS))
        return self._slots or DEFAULT.starts_per_host

    @property
    def may_be_urgent(self) -> bool:
        """Whether a quarter of this process's hands stay free for people if one more does slow work."""
        return self._slow < THREADS - THREADS // line.PEOPLES_SHARE

    @contextmanager
    def busy_with(self, lease: Lease) -> Iterator[None]:
        is_slow = lease.verb in _SLOW_VERBS
        with self._lock:
            self._slow += is_slow
        try:
            yield
        finally:
            with self._lock:
                self._slow -= is_slow


_process = _Process()


def work(operation_pk: int, hands: Hands) -> str:
    """Work on the operation, or on whoever is next in line, and then on the next ones while there are some.

    Gives a word for what came of the last.
    """
    word, busy = "not ours", 0
    for _ in range(MOST_AT_ONCE):
        owner = run.new_owner()
        lease = line.take(
            operation_pk,
            owner=owner,
            slots=_process.slots(),
            may_be_urgent=_process.may_be_urgent,
        )
        if lease is None:
            return word
        with _process.busy_with(lease):
            word = run.under(lease, hands, owner)
        operation_pk = 0
        busy = busy + 1 if word == "waits" else 0
        if busy == MOST_BUSY or word == "left":
            return word
    dispatch.hand_over(operation_pk)
    return word
