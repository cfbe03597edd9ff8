"""/api/v1/hosts/<name>/drain: emptying a host; and moving one shop."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api import bodies, drain_documentation
from tenants.api.pool_views import OperatorsView
from tenants.errors import NotFoundError
from tenants.models import Drain, Host, Instance
from tenants.queries import drains as drain_queries
from tenants.queries import visible
from tenants.services import drains, moves
from tenants.states import InstanceState


class DrainView(OperatorsView):
    """The emptying of one host."""

    @extend_schema(**drain_documentation.GET_DRAIN)
    def get(self, request: Request, name: str) -> Response:
        """How far it has come: the drain that runs, or the one that ended last."""
        return Response(_body(_latest(name)))

    @extend_schema(**drain_documentation.START_DRAIN)
    def post(self, request: Request, name: str) -> Response:
        """Empty the host: no new shops there, and those it holds move to others while they run.

        Refused, with the numbers, when the other hosts have no room for all of them.
        """
        drain = drains.request(_host(name), requested_by=self.principal.member)
        drain.refresh_from_db()
        return Response(_body(drain), status=202)

    @extend_schema(**drain_documentation.CANCEL_DRAIN)
    def delete(self, request: Request, name: str) -> Response:
        """Stop emptying it and take new shops there again; what has moved stays where it is."""
        drain = _latest(name)
        drains.cancel(drain, cancelled_by=self.principal.member)
        drain.refresh_from_db()
        return Response(_body(drain))


class MoveView(OperatorsView):
    """One shop to another host."""

    @extend_schema(**drain_documentation.MOVE)
    def post(self, request: Request, slug: str) -> Response:
        """Move a running shop to the host `to`, or to the one that suits best."""
        sent = drain_documentation.MoveRequest(data=request.data)
        sent.is_valid(raise_exception=True)
        everybodys = visible.tenants(self.principal.member, is_operator=True)
        tenant = visible.of_slug(everybodys, slug)
        instance = (
            Instance.objects.filter(tenant=tenant).exclude(state=InstanceState.RETIRED).first()
        )
        if tenant is None or instance is None:
            raise NotFoundError(f"no running shop is called {slug!r}")
        to = sent.validated_data["to"]
        operation = moves.request(
            instance,
            to_host=_host(to) if to else None,
            reason="asked for by an operator",
            requested_by=self.principal.member,
        )
        steps = bodies.fresh_steps(operation)
        body = bodies.operation(operation, steps, for_operator=True)
        return Response({"operation": body, "links": bodies.links(operation)}, status=202)


def _host(name: str) -> Host:
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise NotFoundError(f"there is no host {name!r}")
    return host


def _latest(name: str) -> Drain:
    drain = drain_queries.latest(_host(name))
    if drain is None:
        raise NotFoundError(f"host {name} was never emptied")
    return drain


def _body(drain: Drain) -> bodies.Body:
    return bodies.drain(drain_queries.progress(drain, timezone.now()))
