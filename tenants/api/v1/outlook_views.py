"""/api/v1/pool/forecast and /api/v1/tenants/<slug>/decisions: what the scheduler knows, for operators."""

from rest_framework.request import Request

from tenants.api.endpoint import PAGE_ERRORS, PAGED, WHO, endpoint
from tenants.api.pagination import NewestFirst
from tenants.api.v1 import pool_bodies as bodies
from tenants.api.v1.pool_views import OperatorsView
from tenants.errors import NotFoundError
from tenants.placement.models import Decision
from tenants.pool import outlook
from tenants.shops import visible


class NewestDecisions(NewestFirst):
    """Decisions: by when they were made."""

    ordering = ("-at", "-id")


class ForecastView(OperatorsView):
    """Where the pool is going."""

    @endpoint("pool_forecast", errors=WHO)
    def get(self, request: Request) -> bodies.ForecastBody:
        """Return how many hosts are needed now and in 30 days, and the days this was learnt from."""
        return bodies.forecast(outlook.room(), outlook.forecast())


class DecisionsView(OperatorsView):
    """Why a shop is where it is."""

    @endpoint(
        "tenants_decisions_list",
        parameters=PAGED,
        errors=WHO | {404: "No such shop."} | PAGE_ERRORS,
    )
    def get(self, request: Request, slug: str) -> bodies.DecisionPageBody:
        """Return the scheduler's answers about the tenant's instances, newest first."""
        tenant = visible.of_slug(visible.tenants(None, is_operator=True), slug)
        if tenant is None:
            raise NotFoundError(f"there is no shop {slug!r}")
        pages = NewestDecisions()
        rows: list[Decision] = (
            pages.paginate_queryset(outlook.decisions_of(tenant), request, view=self) or []
        )
        return bodies.DecisionPageBody(*pages.links(), tuple(bodies.decision(row) for row in rows))
