"""Removing a tenant: asked for here, carried out by the remove flow."""

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from tenants.accounts.models import Member
from tenants.core import transitions
from tenants.errors import StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.shops import repeats
from tenants.shops.models import FirstLogin, Instance, Tenant
from tenants.snapshots import snapshots
from tenants.states import InstanceState, OperationState, TenantState, Verb
from tenants.usage.models import InstanceProfile


@transaction.atomic
def request(tenant: Tenant, *, requested_by: Member | None = None) -> Operation:
    """Start removing the tenant; a repeat returns the removal that is already under way.

    Beats whatever else is being done to the tenant. Raises StateConflictError when it is gone.
    """
    # In the order of operations/operations.py: first the operation that is open, then its tenant.
    operations.lock_open(tenant)
    tenant = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if tenant.state == TenantState.REMOVED:
        raise StateConflictError("the shop has already been removed")
    instance = Instance.objects.select_for_update().filter(tenant=tenant).latest("pk")
    if tenant.state == TenantState.REMOVING:
        operation = Operation.objects.filter(tenant=tenant, verb=Verb.REMOVE).latest("pk")
        if operation.state == OperationState.FAILED:
            repeats.retry(operation)
        return operation
    operations.supersede(tenant, reason="the shop is being removed")
    transitions.move(tenant, TenantState.REMOVING, reason="removal requested")
    if instance.state not in (InstanceState.RETIRING, InstanceState.RETIRED):
        transitions.move(instance, InstanceState.RETIRING, reason="removal requested")
    return operations.open_operation(instance, Verb.REMOVE, requested_by=requested_by)


@transaction.atomic
def record_removed(tenant: Tenant, instance: Instance) -> None:
    """Write down that nothing of the tenant is left; an unread first-login secret is wiped too."""
    transitions.move(instance, InstanceState.RETIRED, reason="nothing is left on any host")
    transitions.move(tenant, TenantState.REMOVED, reason="removed")
    snapshots.forget(tenant)
    InstanceProfile.objects.filter(instance=instance).delete()
    FirstLogin.objects.filter(tenant=tenant).update(
        ciphertext=b"", shown_at=Coalesce("shown_at", Now())
    )
