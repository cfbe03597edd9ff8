"""Keeps the leases of this process alive: one thread renews every lease that is held.

A flow waits for hosts for longer than a lease lasts. A process that dies stops renewing, and the
sweep gives its operations to another one.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from tenants.errors import LeaseLostError
from tenants.operations import leases

log = logging.getLogger(__name__)

Renew = Callable[[], None]


class LeaseRenewer:
    """Renews held leases each beat, from one thread that sleeps while none is held."""

    def __init__(self, *, beat_seconds: float) -> None:
        self._beat_seconds = beat_seconds
        self._held: dict[Hashable, Renew] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, lease: Hashable, renew: Renew) -> Iterator[None]:
        """Renew the lease until the block ends; a lease that was lost is let go silently.

        Whoever works under it learns of the loss at the next write, which is where it matters.
        """
        with self._changed:
            self._held[lease] = renew
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(lease, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._held:
                    self._changed.wait()
            time.sleep(self._beat_seconds)
            with self._changed:
                held = list(self._held.items())
            for lease, renew in held:
                self._renew(lease, renew)
            if held:
                _let_go_of_the_database()

    def _renew(self, lease: Hashable, renew: Renew) -> None:
        try:
            renew()
        except LeaseLostError:
            with self._changed:
                self._held.pop(lease, None)
        except DatabaseError as error:
            log.warning("%s is not renewed: %s", lease, error)
        except Exception:
            # One lease that cannot be renewed must not end the others'.
            log.exception("%s is not renewed", lease)


def _let_go_of_the_database() -> None:
    # Renewals are rare; an idle connection per process is not worth keeping for them.
    try:
        connection.close()
    except DatabaseError:
        log.info("the connection for renewals had died already")


def hold(lease: leases.Lease) -> AbstractContextManager[None]:
    """Renew an operation's lease by this process's heart until the block ends."""
    return _heart().hold(lease, partial(leases.renew, lease))


@lru_cache(maxsize=1)
def _heart() -> LeaseRenewer:
    return LeaseRenewer(beat_seconds=settings.LEASE_SECONDS / 3)
