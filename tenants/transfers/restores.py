"""Going back to an earlier state of a shop's data: asked for here, carried out by the restore flow."""

from django.db import transaction

from tenants.accounts.models import Member
from tenants.errors import StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement import placements
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot
from tenants.states import DataChoice, InstanceState, TenantState, Verb
from tenants.transfers import missing_data

RESTORABLE_STATES = (InstanceState.RUNNING, InstanceState.FAILED)


@transaction.atomic
def request(tenant: Tenant, snapshot: Snapshot, *, requested_by: Member | None = None) -> Operation:
    """Ask for the shop's data to be again what it was in a kept snapshot.

    Raises StateConflictError when that cannot be, OperationOpenError when something else is being done
    to the shop.
    """
    if missing_data.is_chosen_from(tenant):
        # Nothing is there that could be put away first: the copy is what the shop goes on from.
        return missing_data.choose(
            tenant, DataChoice.COPY, snapshot=snapshot, requested_by=requested_by
        )
    instance = check_may_begin(tenant, snapshot.public_id)
    return operations.open_operation(
        instance,
        Verb.RESTORE,
        requested_by=requested_by,
        arguments={"snapshot": snapshot.public_id},
    )


def check_may_begin(tenant: Tenant, snapshot_id: str) -> Instance:
    """Refuse a restore that cannot be begun now, as `request` does; the instance it is of."""
    if snapshots.of_id(tenant, snapshot_id) is None:
        raise StateConflictError(f"{snapshot_id} is not kept; choose another copy")
    if tenant.state != TenantState.LIVE:
        raise StateConflictError("only a shop that is set up can go back to an earlier state")
    instance = Instance.objects.select_related("tenant").filter(tenant=tenant).latest("pk")
    if instance.state not in RESTORABLE_STATES or placements.open_placement(instance) is None:
        raise StateConflictError("the shop is on no host just now; ask again once it runs")
    return instance
