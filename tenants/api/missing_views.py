"""/api/v1/tenants/<slug>/data: whether a shop's data is missing, and what is to be done about it."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api import bodies, snapshot_documentation
from tenants.api.base import ApiView
from tenants.api.views import accepted, tenant_of
from tenants.errors import FieldError
from tenants.queries import missing as queries
from tenants.queries import snapshots
from tenants.services import missing
from tenants.states import DataChoice


class DataView(ApiView):
    """A shop whose data is missing is not started; here is what may be chosen."""

    @extend_schema(**snapshot_documentation.GET_DATA)
    def get(self, request: Request, slug: str) -> Response:
        """Whether the data is missing, since when and why, and the copies to choose from."""
        found = queries.of(tenant_of(self, slug))
        return Response(bodies.data(found, for_operator=self.principal.is_operator))

    @extend_schema(**snapshot_documentation.CHOOSE_DATA)
    def post(self, request: Request, slug: str) -> Response:
        """Look again, go on from a copy, or begin empty. While something waits, it takes its place."""
        tenant = tenant_of(self, slug)
        sent = request.data if isinstance(request.data, dict) else {}
        texts = {name: sent.get(name, "") for name in ("choice", "snapshot", "confirm")}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise FieldError(f"{name} must be a text", field=name)
        snapshot = None
        if texts["choice"] == DataChoice.COPY:
            snapshot = snapshots.of_id(tenant, texts["snapshot"])
        return accepted(
            self,
            missing.choose(
                tenant,
                texts["choice"],
                snapshot=snapshot,
                typed=texts["confirm"],
                requested_by=self.principal.member,
            ),
        )
