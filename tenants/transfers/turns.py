"""Whose turn it is to hold the requests of a host's shops: one operation at a time, by a row of the host.

The row names an operation and the fence of its claim. It counts as long as that claim does: its lease is
renewed by the worker's own thread, ends with a worker that dies, and a later claim has a higher fence. So no
session of the database holds anything, and nobody has to clean up after anybody.
"""

from django.db import connection

from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.states import OperationState
from tenants.transfers.models import HoldTurn

# Read first, then written where the row seems free: who waits writes nothing. The second look, under the
# row's lock, decides between two that saw it free at one moment.
_TAKE = """
WITH mine AS (
    SELECT id, fence FROM tenants_operation
     WHERE id = %(operation)s AND fence = %(fence)s AND state = %(running)s
), others AS (
    SELECT 1 FROM tenants_holdturn AS turn JOIN tenants_operation AS other
        ON other.id = turn.operation_id AND other.fence = turn.fence
     WHERE turn.host_id = %(host)s AND other.id <> %(operation)s
       AND other.state = %(running)s AND other.lease_until > statement_timestamp()
), taken AS (
    INSERT INTO tenants_holdturn AS turn (host_id, operation_id, fence)
    SELECT %(host)s, id, fence FROM mine WHERE NOT EXISTS (SELECT 1 FROM others)
        ON CONFLICT (host_id) DO UPDATE
       SET operation_id = excluded.operation_id, fence = excluded.fence
     WHERE NOT EXISTS (
           SELECT 1 FROM tenants_operation AS other
            WHERE other.id = turn.operation_id AND other.fence = turn.fence
              AND other.id <> excluded.operation_id
              AND other.state = %(running)s AND other.lease_until > statement_timestamp())
    RETURNING 1
)
SELECT EXISTS (SELECT 1 FROM mine), EXISTS (SELECT 1 FROM taken)
"""


def take(lease: Lease, host_pk: int) -> bool:
    """Return whether it is the operation's turn at the host from now on. Raises LeaseLostError."""
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE,
            {
                "operation": lease.operation_id,
                "fence": lease.fence,
                "host": host_pk,
                "running": OperationState.RUNNING.value,
            },
        )
        is_ours, is_taken = cursor.fetchone()
    if not is_ours:
        raise leases.lost()
    return bool(is_taken)


def give_back(lease: Lease) -> None:
    """Let the next one have its turn; no-op where it is not this claim's."""
    HoldTurn.objects.filter(operation_id=lease.operation_id, fence=lease.fence).delete()
