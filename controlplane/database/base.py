"""Replaces a dead connection at its next use outside a transaction, in every thread.

Django looks at connections when a web request begins and nowhere else. Worker threads, the threads that
renew leases, and the event loop have no requests: they kept a connection that PostgreSQL had closed until
they were restarted. Here every use looks, which costs a poll of one socket: a server that closed a
connection has left its last words, or the end, to be read.

Inside a transaction nothing is replaced: what was written before is gone, and the code that began it must
get the error.
"""

import select
from types import TracebackType
from typing import Any

import psycopg2
from django.db import Error as DatabaseError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from tenants.core import metrics

# What tenants.errors.DATABASE_AWAY is made of, as the driver raises it.
_AWAY = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError)


class _CountedErrors(DatabaseErrorWrapper):
    """Django's, which every call of the driver passes; counts the errors that are the database's own."""

    wrapper: "DatabaseWrapper"

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc_value, _AWAY):
            is_connected = self.wrapper.connection is not None
            operation = "statement" if is_connected else "connect"
            metrics.DEPENDENCY_ERRORS.labels("postgresql", operation).inc()
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """One thread's connection."""

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        """Return the context in which every call of the driver is made."""
        return _CountedErrors(self)

    def ensure_connection(self) -> None:
        """Connect, where there is no connection or a dead one. OperationalError when that fails."""
        if self.connection is not None and not self.in_atomic_block and self._is_dead():
            self.close()
        super().ensure_connection()

    def close_if_unusable_or_obsolete(self) -> None:
        """As Django's, at the start and end of a request; there nothing connects and nothing is raised."""
        try:
            if self.connection is not None and not self.in_atomic_block and self._is_dead():
                self.close()
            else:
                super().close_if_unusable_or_obsolete()
        except DatabaseError:
            self.close()

    def _is_dead(self) -> bool:
        raw: Any = self.connection
        if raw.closed:
            return True
        # An idle server says nothing. What there is to read may be a harmless notice, so it is asked.
        if not self.errors_occurred and not _has_something_to_read(raw.fileno()):
            return False
        if not self.is_usable():
            return True
        self.errors_occurred = False
        return False


def _has_something_to_read(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
