"""What a principal of the API may see. Every look-up of a tenant or an operation starts here."""

from django.db.models import OuterRef, QuerySet, Subquery

from tenants.accounts.models import Member
from tenants.activity import event_queries
from tenants.operations.models import Operation
from tenants.shops.models import Instance, Tenant
from tenants.states import InstanceState, TenantState, Verb


def tenants(member: Member | None, *, is_operator: bool) -> QuerySet[Tenant]:
    """Return all tenants for an operator, else the member's own; removed ones among them."""
    without = Instance.objects.filter(tenant=OuterRef("pk"), state=InstanceState.DATA_MISSING)
    found = event_queries.with_silence(Tenant.objects.select_related("plan", "app")).annotate(
        data_missing_since=Subquery(without.values("state_since")[:1])
    )
    if is_operator:
        return found
    return found.filter(memberships__member=member) if member else found.none()


def operations(member: Member | None, *, is_operator: bool) -> QuerySet[Operation]:
    """Return all operations for an operator, else those of the member's own tenants."""
    found = Operation.objects.select_related("tenant")
    if is_operator:
        return found
    return found.filter(tenant__memberships__member=member) if member else found.none()


def of_slug(found: QuerySet[Tenant], slug: str) -> Tenant | None:
    """Return the tenant of that slug: the living one, or the last one that was removed.

    A slug can be taken again only after its shop was removed, so the newest is the living one.
    """
    return found.filter(slug=slug).order_by("-pk").first()


def listed(found: QuerySet[Tenant], *, state: str, search: str) -> QuerySet[Tenant]:
    """Tenants in one state ("" means all but the removed) whose slug begins with search."""
    found = found.filter(state=state) if state else found.exclude(state=TenantState.REMOVED)
    return found.filter(slug__startswith=search) if search else found


def removal_of(tenant: Tenant) -> Operation | None:
    """Return the latest removal that was asked for."""
    return tenant.operations.filter(verb=Verb.REMOVE).order_by("-pk").first()


def member_with_email(email: str) -> Member | None:
    """Return the member who logs in with this e-mail address."""
    return Member.objects.by_email(email).first()
