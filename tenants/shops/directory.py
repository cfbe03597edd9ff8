"""Every tenant and every operation, for operators: searched, filtered and paged by key."""

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from tenants.activity import event_queries
from tenants.core import paging
from tenants.core.models import Transition
from tenants.core.paging import RowPage
from tenants.operations.models import Operation
from tenants.placement.models import Decision, Placement
from tenants.shops.models import Instance, Membership, Tenant
from tenants.states import InstanceState, OperationState, TenantState

PAGE = 50


def tenants(
    *, search: str = "", state: str = "", after: str = "", size: int = PAGE
) -> RowPage[Tenant]:
    """Tenants, newest first, from the key `after` on (a key that cannot be read starts anew).

    search: the beginning of a slug or of an owner's e-mail address. state: a TenantState or "".
    """
    found = event_queries.with_silence(
        Tenant.objects.select_related("plan").prefetch_related(_members(), _placed())
    )
    if state in TenantState.values:
        found = found.filter(state=state)
    if search:
        owners = Membership.objects.filter(tenant=OuterRef("pk"), member__email__istartswith=search)
        found = found.filter(Q(slug__startswith=search.lower()) | Exists(owners))
    return paging.page(found, by="created_at", after=after, size=size)


def tenant(public_id: str) -> Tenant | None:
    """Return one tenant with its plan, owners, instances and every placement they had."""
    placements = Placement.objects.select_related("host").order_by("-since")
    instances = Instance.objects.select_related("release__app").order_by("-pk")
    return (
        event_queries.with_silence(Tenant.objects.filter(public_id=public_id))
        .select_related("plan", "app")
        .prefetch_related(
            _members(),
            Prefetch("instances", instances),
            Prefetch("instances__placements", placements),
            "routes",
        )
        .first()
    )


def transitions_of(tenant: Tenant, *, newest: int = 30) -> list[Transition]:
    """Return what changed of the tenant, its instances and its operations, newest first."""
    instances = list(tenant.instances.values_list("pk", flat=True))
    operations = list(tenant.operations.order_by("-pk").values_list("pk", flat=True)[:20])
    return list(
        Transition.objects.filter(
            Q(subject="tenant", subject_id=tenant.pk)
            | Q(subject="instance", subject_id__in=instances)
            | Q(subject="operation", subject_id__in=operations)
        ).order_by("-at", "-pk")[:newest]
    )


def transitions_of_operation(operation: Operation) -> list[Transition]:
    """Return the operation's journal, oldest first."""
    return list(
        Transition.objects.filter(subject="operation", subject_id=operation.pk).order_by("at", "pk")
    )


def decisions_of(tenant: Tenant, *, newest: int = 10) -> list[Decision]:
    """Return the scheduler's latest answers about the tenant's instances."""
    return list(
        Decision.objects.filter(instance__tenant=tenant)
        .select_related("instance")
        .order_by("-at")[:newest]
    )


def operations(*, state: str = "", newest: int = 12) -> QuerySet[Operation]:
    """Return the latest operations with their steps, newest first; state "" means all."""
    found = Operation.objects.all()
    if state in OperationState.values:
        found = found.filter(state=state)
    return (
        found.select_related("tenant")
        .prefetch_related("steps")
        .order_by("-created_at", "-id")[:newest]
    )


def operations_of(tenant: Tenant, *, newest: int = 20) -> QuerySet[Operation]:
    """Return the tenant's operations with their steps, newest first."""
    return tenant.operations.prefetch_related("steps").order_by("-created_at", "-id")[:newest]


def operation(public_id: str) -> Operation | None:
    """Return one operation with its tenant, instance, steps and who asked for it."""
    return (
        Operation.objects.filter(public_id=public_id)
        .select_related("tenant", "instance", "requested_by")
        .prefetch_related("steps")
        .first()
    )


def _members() -> "Prefetch[str]":
    members = Membership.objects.select_related("member").order_by("pk")
    return Prefetch("memberships", members, to_attr="owners")


def _placed() -> "Prefetch[str]":
    living = Instance.objects.exclude(state=InstanceState.RETIRED).prefetch_related(
        Prefetch(
            "placements",
            Placement.objects.filter(until=None).select_related("host"),
            to_attr="open_placements",
        )
    )
    return Prefetch("instances", living, to_attr="living")
