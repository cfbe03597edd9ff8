"""How this process takes part in the line of starts: one operation after another, while there are slots.

A worker that has ended an operation takes the next one itself, at once, without a message in between.
Operations that wait hold no thread.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tenants.core import dispatch
from tenants.errors import DATABASE_AWAY
from tenants.operations import line
from tenants.operations.leases import Lease
from tenants.states import SLOW_VERBS
from workers.flows.clients import Clients
from workers.flows.running import run
from workers.flows.running.returning import returns
from workers.pool.reader import pool_slots
from workers.scheduler.demand_vector import DEFAULT

# As many as deploy/supervisord.conf.in and deploy/compose/enter give the program `control` (-c).
THREADS = 16
# The hosts that report are counted again after this long: the bound need not be exact.
COUNT_SECONDS = 1.0
# Two that found their hosts busy in a row: the others would hardly fare better at this moment.
MOST_BUSY = 2
# Then the thread goes back to the queue, in which other work may wait.
MOST_AT_ONCE = 50

log = logging.getLogger(__name__)


class _Process:
    """What this process knows: how many slots there are, and how many of its hands do slow work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots = 0
        self._counted_at = -COUNT_SECONDS
        self._slow = 0
        self._at_work = 0
        self._is_told = False

    def enter(self, *, is_hint: bool) -> bool:
        """Return whether one more thread is of use; a hint that comes while enough are at work is kept for
        them.
        """
        with self._lock:
            if is_hint and 0 < self._slots <= self._at_work:
                self._is_told = True
                return False
            self._at_work += 1
            return True

    def leave(self) -> None:
        """A thread goes back to the queue."""
        with self._lock:
            self._at_work -= 1

    def leave_unless_told(self) -> bool:
        """Go back to the queue, unless a hint has come since somebody last looked: then look once more."""
        with self._lock:
            if self._is_told:
                self._is_told = False
                return False
            self._at_work -= 1
            return True

    def slots(self) -> int:
        """Start slots of the whole pool, as they were counted a moment ago."""
        with self._lock:
            is_old = time.monotonic() - self._counted_at >= COUNT_SECONDS
            if is_old:
                self._counted_at = time.monotonic()
        if is_old:
            self._slots = pool_slots()
        return self._slots or DEFAULT.starts_per_host

    @property
    def may_be_urgent(self) -> bool:
        """Whether a quarter of this process's hands stay free for people if one more does slow work."""
        return self._slow < THREADS - THREADS // line.PEOPLES_SHARE

    @contextmanager
    def busy_with(self, lease: Lease) -> Iterator[None]:
        is_slow = lease.verb in SLOW_VERBS
        with self._lock:
            self._slow += is_slow
        try:
            yield
        finally:
            with self._lock:
                self._slow -= is_slow


_process = _Process()


def work(operation_pk: int, clients: Clients) -> str:
    """Work on the operation, or on the next in line, and then on further ones while there are some.

    operation_pk: 0 for the next one. Gives a word for what came of the last.
    """
    if not _process.enter(is_hint=not operation_pk):
        return "others are at it"
    try:
        word, is_over = _work(operation_pk, clients)
    except BaseException:
        _process.leave()
        raise
    if not is_over:  # where nobody was left in line it was let go under the same lock
        _process.leave()
    return word


def _work(operation_pk: int, clients: Clients) -> tuple[str, bool]:
    """Return the last word, and whether this thread has left already."""
    word, busy = "not ours", 0
    for _ in range(MOST_AT_ONCE):
        owner = run.new_owner()
        slots = _process.slots()
        try:
            lease = line.take(
                operation_pk,
                owner=owner,
                slots=slots,
                may_be_urgent=_process.may_be_urgent,
            )
        except DATABASE_AWAY as error:
            # Whether a claim was written is not even known.
            log.warning("the line: the database failed: %s", error)
            returns.add(owner, error)
            return "left", False
        operation_pk = 0
        if lease is None:
            if _process.leave_unless_told():
                return word, True
            continue
        with _process.busy_with(lease):
            word = run.under(lease, clients, owner)
        busy = busy + 1 if word == "waits" else 0
        if busy == MOST_BUSY or word == "left":
            return word, False
    dispatch.hand_over(0)
    return word, False
