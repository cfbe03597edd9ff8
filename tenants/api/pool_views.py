"""/api/v1/hosts: the pool, for operators."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api import bodies, documentation
from tenants.api.authentication import IsOperator
from tenants.api.base import ApiView
from tenants.queries import pool


class HostsView(ApiView):
    """All hosts."""

    permission_classes = [IsOperator]

    @extend_schema(**documentation.LIST_HOSTS)
    def get(self, request: Request) -> Response:
        """Every host with its capacity, what is booked on it and what is measured."""
        views = pool.hosts(timezone.now())
        return Response({"results": [bodies.host(view) for view in views]})
