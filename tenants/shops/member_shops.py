"""What a member may see of their own shops; every query here starts from the member."""

from django.conf import settings
from django.db.models import QuerySet

from tenants.accounts.models import Member
from tenants.activity import event_queries
from tenants.operations.models import Operation
from tenants.shops.models import FirstLogin, Tenant
from tenants.states import OPEN_OPERATION_STATES, TenantState


def of(member: Member) -> QuerySet[Tenant]:
    """Return the member's shops, newest first; those that were removed are not among them."""
    return (
        event_queries.with_silence(Tenant.objects.filter(memberships__member=member))
        .exclude(state=TenantState.REMOVED)
        .select_related("plan")
        .order_by("-created_at", "-id")
    )


def address(slug: str) -> str:
    """Return where a shop of that name answers, as people type it: http://acme.example:8080."""
    return settings.STOA_SHOP_URL.format(slug=slug)


def admin_address(slug: str) -> str:
    """Return where the merchant runs the shop."""
    return f"{address(slug)}/admin"


def taken_among(slugs: list[str]) -> set[str]:
    """Return which of these names living shops have; one query."""
    living = Tenant.objects.filter(slug__in=slugs).exclude(state=TenantState.REMOVED)
    return set(living.values_list("slug", flat=True))


def operations_of(tenant: Tenant, *, newest: int = 10) -> list[Operation]:
    """Return the tenant's latest operations, newest first."""
    return list(tenant.operations.order_by("-created_at", "-id")[:newest])


def open_operation_of(tenant: Tenant) -> Operation | None:
    """Return the operation that is under way for the tenant, if there is one."""
    return tenant.operations.filter(state__in=OPEN_OPERATION_STATES).first()


def first_login_waits(tenant: Tenant) -> bool:
    """Return whether the first-login secret has not been shown yet."""
    return FirstLogin.objects.filter(tenant=tenant, shown_at=None).exists()
