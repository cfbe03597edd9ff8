"""/api/v1/tenants/<slug>/snapshots and …/restore: copies of a shop's data, and going back to one."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import access_brakes
from tenants.api import bodies, snapshot_documentation
from tenants.api.base import ApiView
from tenants.api.views import accepted, tenant_of
from tenants.errors import FieldError, NotFoundError
from tenants.queries import snapshots
from tenants.services import marks, restores, snapshot_rounds

LISTED = 200


class SnapshotsView(ApiView):
    """Copies of a shop's data that are kept off its host."""

    @extend_schema(**snapshot_documentation.LIST_SNAPSHOTS)
    def get(self, request: Request, slug: str) -> Response:
        """The kept copies, newest first, and when the next is due."""
        tenant = tenant_of(self, slug)
        return Response(
            {
                "schedule": bodies.snapshot_schedule(snapshots.schedule_of(tenant), tenant.plan),
                "results": [bodies.snapshot(row) for row in snapshots.of(tenant)[:LISTED]],
            }
        )

    @extend_schema(**snapshot_documentation.TAKE_SNAPSHOT)
    def post(self, request: Request, slug: str) -> Response:
        """Make one now: within seconds it is on its way, and then in the list."""
        tenant = tenant_of(self, slug)
        access_brakes.snapshot(tenant.public_id)
        row = snapshot_rounds.ask(tenant)
        return Response(bodies.snapshot_schedule(row, tenant.plan), status=202)


class AcceptView(ApiView):
    """The word that a shop's data is right, although its last copies are in doubt."""

    @extend_schema(**snapshot_documentation.ACCEPT)
    def post(self, request: Request, slug: str) -> Response:
        """Say that the data is right as it is: newer copies then count again, and older ones may go."""
        return Response({"accepted": marks.accept(tenant_of(self, slug))})


class RestoreView(ApiView):
    """The way back to an earlier state."""

    @extend_schema(**snapshot_documentation.RESTORE)
    def post(self, request: Request, slug: str) -> Response:
        """Make the shop's data be what it was. The present state is copied first.

        Visitors wait while the copy is loaded. For as long as a large one takes, whoever has waited for 15 s
        is answered 503 with Retry-After: 5, people by a page that loads again, programs by a problem.
        """
        tenant = tenant_of(self, slug)
        sent = request.data.get("snapshot") if isinstance(request.data, dict) else None
        if not isinstance(sent, str) or not sent:
            raise FieldError(
                "snapshot is missing; give the id of a copy in the list", field="snapshot"
            )
        snapshot = snapshots.of_id(tenant, sent)
        if snapshot is None:
            raise NotFoundError(f"no copy {sent[:40]!r} of this shop is kept")
        return accepted(
            self, restores.request(tenant, snapshot, requested_by=self.principal.member)
        )
