"""Sign-ups that a program may repeat: the same key and the same payload give the same operation."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection, transaction

from tenants.errors import KeyReusedError
from tenants.operations.models import IdempotencyKey, Operation


@dataclass(frozen=True, slots=True)
class KeyedResult:
    """What the post led to; is_repeat: an earlier post with the same key had led there."""

    operation: Operation
    is_repeat: bool


def is_known(*, principal: str, key: str) -> bool:
    """Return whether a post with this key has been answered already: the next one is a repeat."""
    return IdempotencyKey.objects.filter(principal=principal, key=key).exists()


@transaction.atomic
def once(*, principal: str, key: str, payload: bytes, work: Callable[[], Operation]) -> KeyedResult:
    """Do the work and remember its operation under (principal, key), in one transaction.

    A second post with the same key waits for the first to end, then gets its operation.
    Raises KeyReusedError when the payload is another one, and whatever work raises.
    """
    fingerprint = hashlib.sha256(payload).hexdigest()
    lock = hashlib.sha256(f"idempotency {principal} {key}".encode()).digest()[:8]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(lock, "big", signed=True)]
        )
    row = (
        IdempotencyKey.objects.filter(principal=principal, key=key)
        .select_related("operation__tenant")
        .first()
    )
    if row is not None:
        if row.fingerprint != fingerprint:
            raise KeyReusedError(
                "this Idempotency-Key came before with another payload; use a new key for a new request"
            )
        return KeyedResult(operation=row.operation, is_repeat=True)
    operation = work()
    IdempotencyKey.objects.create(
        principal=principal, key=key, fingerprint=fingerprint, operation=operation
    )
    return KeyedResult(operation=operation, is_repeat=False)
