"""Gives operations back whose worker lost the database, as soon as the database is there again.

Such a worker can write nothing down. Left alone, its lease would run out, and the attempt would count
although nobody could have done better. So one thread tries until it is written that nothing was used up.
"""

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from django.db import Error as DatabaseError
from django.db import connection

from tenants.errors import LeaseLostError, WaitError
from tenants.operations import attempts, leases

_PAUSE_SECONDS = 0.5

log = logging.getLogger(__name__)


class AwayError(WaitError):
    """A part of the control plane was away while the operation was worked on."""

    code = "away"
    pause_seconds = 0.5


class Returns:
    """What is yet to be given back, and the thread that does it."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, owner: str, error: Exception) -> None:
        """Give back the operation that is this owner's, if there is one; owner: of one claim alone."""
        away = AwayError(f"the database failed: {str(error).strip()[:200]}")

        def give_back() -> None:
            lease = leases.held_by(owner)
            if lease is not None:
                attempts.wait(lease, away)

        self._waiting.put(give_back)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="returns", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            give_back = self._waiting.get()
            while not _done(give_back):
                time.sleep(_PAUSE_SECONDS)
            if self._waiting.empty():
                connection.close()


def _done(give_back: Callable[[], None]) -> bool:
    try:
        give_back()
    except DatabaseError as error:
        log.info("the database is still away: %s", str(error).strip())
        return False
    except LeaseLostError:
        return True
    except Exception:
        log.exception("an operation is not given back; its lease runs out")
    return True


returns = Returns()
