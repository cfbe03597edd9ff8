"""The only door through which a state changes: compare-and-set, and a journal row beside it."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from tenants.errors import StateConflictError
from tenants.models import Instance, Operation, Tenant, Transition
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
    if isinstance(row, Tenant | Instance):
        changes["state_since"] = Now()
    # No savepoint: where nothing was changed there is nothing to undo, and this is done very often.
    with transaction.atomic(savepoint=False):
        changed = (
            type(row).objects.filter(pk=row.pk, state=old_state).update(state=new_state, **changes)
        )
        if changed == 1:
            journal(name, row.pk, old_state, new_state, reason=reason)
    if changed != 1:
        raise StateConflictError(f"{name} {row.pk} is no longer {old_state}")
    row.state = new_state


def journal(subject: str, subject_id: int, old: str, new: str, *, reason: str) -> None:
    """Write down one change of state; `move` does it, and so do guarded UPDATEs that know more."""
    Transition.objects.create(
        subject=subject, subject_id=subject_id, old_state=old, new_state=new, reason=reason[:300]
    )
