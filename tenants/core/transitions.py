"""The only door through which a state changes: compare-and-set, and a journal row beside it."""

from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from tenants.core.models import Transition
from tenants.errors import StateConflictError
from tenants.operations.models import Operation
from tenants.shops.models import Instance, Tenant
from tenants.states import INSTANCE_TRANSITIONS, OPERATION_TRANSITIONS, TENANT_TRANSITIONS

Subject = Tenant | Instance | Operation

_TABLES: dict[type[Subject], tuple[str, Mapping[str, frozenset[str]]]] = {
    Tenant: ("tenant", TENANT_TRANSITIONS),
    Instance: ("instance", INSTANCE_TRANSITIONS),
    Operation: ("operation", OPERATION_TRANSITIONS),
}


def move(row: Subject, new_state: str, *, reason: str, **changes: Any) -> None:
    """Move row from the state it was read in to new_state; `changes` are set beside it.

    Raises StateConflictError when the table forbids the move or the row has moved meanwhile.
    """
    name, table = _TABLES[type(row)]
    old_state = row.state
    if new_state not in table[old_state]:
        raise StateConflictError(f"{name} {row.pk} cannot go from {old_state} to {new_state}")
    if isinstance(row, Tenant | Instance) and not changes:
        changed = _move_at_once(row, name, new_state, reason)
    else:
        changed = _move_with(row, name, new_state, reason, changes)
    if not changed:
        raise StateConflictError(f"{name} {row.pk} is no longer {old_state}")
    row.state = new_state


# A sign-up goes through three of these: one statement in place of two, not through the ORM.
_MOVE = """
WITH moved AS (
    UPDATE {table} SET state = %(new)s, state_since = statement_timestamp()
     WHERE id = %(id)s AND state = %(old)s RETURNING id
)
INSERT INTO tenants_transition (subject, subject_id, old_state, new_state, reason)
SELECT %(subject)s, id, %(old)s, %(new)s, %(reason)s FROM moved
"""


def _move_at_once(row: Tenant | Instance, name: str, new_state: str, reason: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE.format(table=f"tenants_{name}"),
            {
                "id": row.pk,
                "subject": name,
                "old": str(row.state),
                "new": str(new_state),
                "reason": reason[:300],
            },
        )
        return bool(cursor.rowcount)


def _move_with(
    row: Subject, name: str, new_state: str, reason: str, changes: Mapping[str, Any]
) -> bool:
    since = {} if isinstance(row, Operation) else {"state_since": Now()}
    mine = type(row).objects.filter(pk=row.pk, state=row.state)
    # No savepoint: where nothing was changed there is nothing to undo, and this is done very often.
    with transaction.atomic(savepoint=False):
        changed = mine.update(state=new_state, **since, **changes)
        if changed:
            journal(name, row.pk, row.state, new_state, reason=reason)
    return bool(changed)


def journal(subject: str, subject_id: int, old: str, new: str, *, reason: str) -> None:
    """Write down one change of state; `move` does it, and so do guarded UPDATEs that know more."""
    Transition.objects.create(
        subject=subject, subject_id=subject_id, old_state=old, new_state=new, reason=reason[:300]
    )
