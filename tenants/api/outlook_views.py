"""/api/v1/pool/forecast and /api/v1/tenants/<slug>/decisions: what the scheduler knows, for operators."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api import outlook_bodies, outlook_documentation
from tenants.api.pagination import PAGED, NewestFirst
from tenants.api.pool_views import OperatorsView
from tenants.errors import NotFoundError
from tenants.models import Decision
from tenants.queries import outlook, visible


class NewestDecisions(NewestFirst):
    """Decisions: by when they were made."""

    ordering = ("-at", "-id")


class ForecastView(OperatorsView):
    """Where the pool is going."""

    @extend_schema(**outlook_documentation.POOL_FORECAST)
    def get(self, request: Request) -> Response:
        """How many hosts are needed now and in 30 days, and the days this was learnt from."""
        return Response(outlook_bodies.forecast(outlook.room(), outlook.forecast()))


class DecisionsView(OperatorsView):
    """Why a shop is where it is."""

    parameters = PAGED

    @extend_schema(**outlook_documentation.LIST_DECISIONS)
    def get(self, request: Request, slug: str) -> Response:
        """The scheduler's answers about the tenant's instances, newest first."""
        tenant = visible.of_slug(visible.tenants(None, is_operator=True), slug)
        if tenant is None:
            raise NotFoundError(f"there is no shop {slug!r}")
        pages = NewestDecisions()
        rows: list[Decision] = (
            pages.paginate_queryset(outlook.decisions_of(tenant), request, view=self) or []
        )
        return pages.get_paginated_response([outlook_bodies.decision(row) for row in rows])
