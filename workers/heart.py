"""Keeps the leases of this process alive: one thread renews every lease that is held.

A flow waits for hosts for longer than a lease lasts. A process that dies stops renewing, and the
sweep gives its operations to another one.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from tenants.errors import LeaseLostError
from tenants.services import leases

log = logging.getLogger(__name__)


class Heart:
    """Renews held leases each third of their length, from one thread that sleeps while none is held."""

    def __init__(self, *, beat_seconds: float) -> None:
        self._beat_seconds = beat_seconds
        self._held: set[leases.Lease] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, lease: leases.Lease) -> Iterator[None]:
        """Renew the lease until the block ends; a lease that was lost is let go silently.

        Whoever works under it learns of the loss at the next write, which is where it matters.
        """
        with self._changed:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(lease)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._held:
                    self._changed.wait()
                self._changed.wait(self._beat_seconds)
                held = list(self._held)
            for lease in held:
                self._renew(lease)
            if held:
                # Renewals are rare; an idle connection per process is not worth keeping for them.
                connection.close()

    def _renew(self, lease: leases.Lease) -> None:
        try:
            leases.renew(lease)
        except LeaseLostError:
            with self._changed:
                self._held.discard(lease)
        except DatabaseError as error:
            log.warning("lease of operation %s not renewed: %s", lease.operation_id, error)
            connection.close()


_lock = threading.Lock()
_heart: Heart | None = None


def heart() -> Heart:
    """This process's heart; made in the process that uses it, because threads do not survive a fork."""
    global _heart  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _heart is None:
            _heart = Heart(beat_seconds=settings.LEASE_SECONDS / 3)
        return _heart
