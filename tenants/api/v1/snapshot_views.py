"""/api/v1/tenants/<slug>/snapshots and …/restore: copies of a shop's data, and going back to one."""

from rest_framework.request import Request

from tenants.api.base import ApiView
from tenants.api.declared import Sent
from tenants.api.endpoint import ASKING, BUSY, endpoint
from tenants.api.v1 import snapshot_bodies as bodies
from tenants.api.v1.bodies import AcceptedBody
from tenants.api.v1.requests import RestoreRequest
from tenants.api.v1.tenant_views import accepted, tenant_of
from tenants.errors import NotFoundError
from tenants.http import access_brakes
from tenants.snapshots import due, marks, snapshot_queries
from tenants.transfers import restores

LISTED = 200


class SnapshotsView(ApiView):
    """Copies of a shop's data that are kept off its host."""

    @endpoint("tenants_snapshots_list", errors=ASKING)
    def get(self, request: Request, slug: str) -> bodies.SnapshotsBody:
        """Return the kept copies, newest first, and when the next is due."""
        tenant = tenant_of(self, slug)
        return bodies.SnapshotsBody(
            schedule=bodies.schedule(snapshot_queries.schedule_of(tenant), tenant.plan),
            results=tuple(bodies.snapshot(row) for row in snapshot_queries.of(tenant)[:LISTED]),
        )

    @endpoint("tenants_snapshots_create", status=202, errors=ASKING | BUSY)
    def post(self, request: Request, slug: str) -> bodies.SnapshotScheduleBody:
        """Make one now: within seconds it is on its way, and then in the list."""
        tenant = tenant_of(self, slug)
        access_brakes.snapshot(tenant.public_id)
        row = due.ask(tenant)
        return bodies.schedule(row, tenant.plan)


class AcceptView(ApiView):
    """The word that a shop's data is right, although its last copies are in doubt."""

    @endpoint("tenants_snapshots_accept", errors=ASKING)
    def post(self, request: Request, slug: str) -> bodies.SnapshotsAcceptedBody:
        """Say that the data is right as it is: newer copies then count again, and older ones may go."""
        return bodies.SnapshotsAcceptedBody(marks.accept(tenant_of(self, slug)))


class RestoreView(ApiView):
    """The way back to an earlier state."""

    @endpoint("tenants_restore", status=202, errors=ASKING | BUSY)
    def post(self, request: Request, slug: str, sent: Sent[RestoreRequest]) -> AcceptedBody:
        """Make the shop's data be what it was. The present state is copied first.

        Visitors wait while the copy is loaded. After 15 s they get 503 with Retry-After: 5: people a page
        that loads again, programs a problem.
        """
        tenant = tenant_of(self, slug)
        asked = sent.checked().snapshot
        snapshot = snapshot_queries.of_id(tenant, asked)
        if snapshot is None:
            raise NotFoundError(f"no copy {asked[:40]!r} of this shop is kept")
        return accepted(
            self, restores.request(tenant, snapshot, requested_by=self.principal.member)
        )
