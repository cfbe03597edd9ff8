"""/api/v1/tenants/<slug>/data: whether a shop's data is missing, and what is to be done about it."""

from rest_framework.request import Request

from tenants.api.base import ApiView
from tenants.api.declared import Sent
from tenants.api.endpoint import ASKING, BUSY, endpoint
from tenants.api.v1 import snapshot_bodies
from tenants.api.v1.bodies import AcceptedBody
from tenants.api.v1.requests import DataChoiceRequest
from tenants.api.v1.tenant_views import accepted, tenant_of
from tenants.shops import missing_queries
from tenants.snapshots import snapshot_queries
from tenants.states import DataChoice
from tenants.transfers import missing_data


class DataView(ApiView):
    """A shop whose data is missing is not started; here is what may be chosen."""

    @endpoint("tenants_data_retrieve", errors=ASKING)
    def get(self, request: Request, slug: str) -> snapshot_bodies.TenantDataBody:
        """Return whether the data is missing, since when and why, and the copies to choose from."""
        found = missing_queries.of(tenant_of(self, slug))
        return snapshot_bodies.data(found, for_operator=self.principal.is_operator)

    @endpoint("tenants_data_choose", status=202, errors=ASKING | BUSY)
    def post(self, request: Request, slug: str, sent: Sent[DataChoiceRequest]) -> AcceptedBody:
        """Look again, go on from a copy, or begin empty. While something waits, it takes its place."""
        tenant = tenant_of(self, slug)
        asked = sent.checked()
        snapshot = None
        if asked.choice == DataChoice.COPY:
            snapshot = snapshot_queries.of_id(tenant, asked.snapshot)
        return accepted(
            self,
            missing_data.choose(
                tenant,
                asked.choice,
                snapshot=snapshot,
                typed=asked.confirm,
                requested_by=self.principal.member,
            ),
        )
