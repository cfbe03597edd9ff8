"""/api/v1/hosts/<name>/drain: emptying a host; and moving one shop."""

from django.utils import timezone
from rest_framework.request import Request

from tenants.api.declared import Sent
from tenants.api.endpoint import WHO, endpoint
from tenants.api.v1 import bodies, pool_bodies
from tenants.api.v1.pool_views import OperatorsView, host_named
from tenants.api.v1.requests import MoveRequest
from tenants.errors import NotFoundError
from tenants.pool import drain_progress, drains
from tenants.pool.models import Drain
from tenants.shops import visible
from tenants.shops.models import Instance
from tenants.states import InstanceState
from tenants.transfers import moves

_ONE = WHO | {404: "No host of that name, or it was never emptied."}
_NOT_NOW = {409: "Its state does not allow it now."}


class DrainView(OperatorsView):
    """The emptying of one host."""

    @endpoint("hosts_drain_get", errors=_ONE)
    def get(self, request: Request, name: str) -> pool_bodies.DrainBody:
        """Return how far it has come: the drain that runs, or the one that ended last."""
        return _body(_latest(name))

    @endpoint(
        "hosts_drain",
        status=202,
        errors=_ONE
        | _NOT_NOW
        | {503: "The other hosts have no room for all its shops; the message has the numbers."},
    )
    def post(self, request: Request, name: str) -> pool_bodies.DrainBody:
        """Empty the host: no new shops there, and those it holds move to others while they run.

        Refused, with the numbers, when the other hosts have no room for all of them.
        """
        drain = drains.request(host_named(name), requested_by=self.principal.member)
        drain.refresh_from_db()
        return _body(drain)

    @endpoint("hosts_undrain", errors=_ONE | _NOT_NOW)
    def delete(self, request: Request, name: str) -> pool_bodies.DrainBody:
        """Stop emptying it; what has moved stays there. It is open or closed as it was before."""
        drain = _latest(name)
        drains.cancel(drain, cancelled_by=self.principal.member)
        drain.refresh_from_db()
        return _body(drain)


class MoveView(OperatorsView):
    """One shop to another host."""

    @endpoint(
        "tenants_move",
        status=202,
        errors=WHO
        | {404: "No such shop or host.", 503: "As many are under way as may be at once."}
        | _NOT_NOW,
    )
    def post(self, request: Request, slug: str, sent: Sent[MoveRequest]) -> bodies.AcceptedBody:
        """Move a running shop to the host `to`, or to the one that suits best."""
        to = sent.checked().to
        everybodys = visible.tenants(self.principal.member, is_operator=True)
        tenant = visible.of_slug(everybodys, slug)
        instance = (
            Instance.objects.filter(tenant=tenant).exclude(state=InstanceState.RETIRED).first()
        )
        if tenant is None or instance is None:
            raise NotFoundError(f"no running shop is called {slug!r}")
        operation = moves.request(
            instance,
            to_host=host_named(to) if to else None,
            reason="asked for by an operator",
            requested_by=self.principal.member,
        )
        steps = bodies.fresh_steps(operation)
        return bodies.AcceptedBody(
            bodies.operation(operation, steps, for_operator=True), bodies.links(operation)
        )


def _latest(name: str) -> Drain:
    drain = drain_progress.latest(host_named(name))
    if drain is None:
        raise NotFoundError(f"host {name} was never emptied")
    return drain


def _body(drain: Drain) -> pool_bodies.DrainBody:
    return pool_bodies.drain(drain_progress.progress(drain, timezone.now()))
