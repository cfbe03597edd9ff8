"""How passwords are hashed, so that no crowd of log-ins takes the machine's memory or processor.

OWASP's parameters for Argon2id: 19 MiB, two passes, one lane: some 20 ms. One hash at a time per process, and
the web has two; who waits longer than QUEUE_SECONDS gets BusyError. An unknown e-mail costs the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.contrib.auth.hashers import Argon2PasswordHasher
from django.utils.translation import gettext as _

from tenants.errors import BusyError

QUEUE_SECONDS = 4.0
_turn = BoundedSemaphore(1)


class BoundedArgon2(Argon2PasswordHasher):
    """Argon2id, one at a time. Hashes of other parameters are renewed when their owner logs in."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """Hash it. Raises BusyError when too many wait."""
        with _in_turn():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether it is the password. Raises BusyError when too many wait."""
        with _in_turn():
            return super().verify(password, encoded)


@contextmanager
def _in_turn() -> Iterator[None]:
    if not _turn.acquire(timeout=QUEUE_SECONDS):
        raise BusyError(
            _("Very many people are logging in just now. Please try again in a moment.")
        )
    try:
        yield
    finally:
        _turn.release()
