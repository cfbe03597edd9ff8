"""/api/v1/hosts and /api/v1/host-tokens: the pool, for operators."""

from datetime import timedelta

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api import bodies, pool_documentation
from tenants.api.authentication import IsOperator
from tenants.api.base import ApiView
from tenants.api.pool_requests import ForgetRequest, HostEdit, JoinTokenRequest
from tenants.errors import NotFoundError, StateConflictError
from tenants.models import Host
from tenants.queries import joins as join_queries
from tenants.queries import pool
from tenants.services import hosts, joins


class OperatorsView(ApiView):
    """A view for operators."""

    permission_classes = [IsOperator]

    @property
    def by(self) -> str:
        """Who acts, for the journal: an e-mail address, or the name of a program's token."""
        member = self.principal.member
        return member.email if member else self.principal.name


class HostsView(OperatorsView):
    """All hosts."""

    @extend_schema(**pool_documentation.LIST_HOSTS)
    def get(self, request: Request) -> Response:
        """Every host with its capacity, what is booked on it and what is measured."""
        views = pool.hosts(timezone.now())
        return Response({"results": [bodies.host(view) for view in views]})


class HostView(OperatorsView):
    """One host."""

    @extend_schema(**pool_documentation.GET_HOST)
    def get(self, request: Request, name: str) -> Response:
        """The host with its capacity, what is booked on it and what is measured."""
        return _host_body(name)

    @extend_schema(**pool_documentation.EDIT_HOST)
    def patch(self, request: Request, name: str) -> Response:
        """Change its zone, engine, labels or reserve; what is left out stays."""
        host = _host(name)
        sent = HostEdit(data=request.data)
        sent.is_valid(raise_exception=True)
        hosts.edit(host, **sent.changes(host))
        return _host_body(name)

    @extend_schema(**pool_documentation.REMOVE_HOST)
    def delete(self, request: Request, name: str) -> Response:
        """Take an empty host out of the pool; its credentials end with it."""
        hosts.remove(_host(name), by=self.by)
        return Response(status=204)


class CordonView(OperatorsView):
    """No new shops."""

    @extend_schema(**pool_documentation.CORDON_HOST)
    def post(self, request: Request, name: str) -> Response:
        """Place no new shops there; what runs goes on. Calm when repeated."""
        hosts.cordon(_host(name), by=self.by)
        return _host_body(name)


class UncordonView(OperatorsView):
    """New shops again."""

    @extend_schema(**pool_documentation.UNCORDON_HOST)
    def post(self, request: Request, name: str) -> Response:
        """Place shops there again. Calm when repeated."""
        hosts.uncordon(_host(name), by=self.by)
        return _host_body(name)


class LostView(OperatorsView):
    """A host of which an operator knows that it will not be back soon."""

    @extend_schema(**pool_documentation.HOST_LOST)
    def post(self, request: Request, name: str) -> Response:
        """Bring an unreachable host's shops back elsewhere now, from their last snapshots."""
        sent = ForgetRequest(data=request.data)
        sent.is_valid(raise_exception=True)
        hosts.declare_lost(_host(name), confirm=sent.validated_data["confirm"], by=self.by)
        return _host_body(name)


class ForgetView(OperatorsView):
    """A host that will not come back."""

    @extend_schema(**pool_documentation.FORGET_HOST)
    def post(self, request: Request, name: str) -> Response:
        """Take a lost host out of the pool; its broker user and tokens end at once."""
        sent = ForgetRequest(data=request.data)
        sent.is_valid(raise_exception=True)
        hosts.forget(_host(name), confirm=sent.validated_data["confirm"], by=self.by)
        return Response(status=204)


class JoinTokensView(OperatorsView):
    """What lets machines in."""

    @extend_schema(**pool_documentation.LIST_JOIN_TOKENS)
    def get(self, request: Request) -> Response:
        """The newest join tokens and what became of each; never a secret."""
        return Response({"results": [bodies.join_token(row) for row in join_queries.tokens()]})

    @extend_schema(**pool_documentation.CREATE_JOIN_TOKEN)
    def post(self, request: Request) -> Response:
        """Make a token for one machine; its text is in this answer and nowhere else."""
        sent = JoinTokenRequest(data=request.data)
        sent.is_valid(raise_exception=True)
        given = sent.validated_data
        made = joins.create(
            created_by=self.by,
            ca_sha256=ca_sha256(),
            zone=given["zone"],
            labels=given["labels"],
            lifetime=timedelta(seconds=given["ttl_seconds"]),
        )
        body = {
            "id": made.token.key_id,
            "token": made.text,
            "address": join_queries.address(),
            "command": join_queries.command(made.text),
            "expires_at": bodies.moment(made.token.expires_at),
        }
        return Response(body, status=201)


class JoinTokenView(OperatorsView):
    """One join token."""

    @extend_schema(**pool_documentation.REVOKE_JOIN_TOKEN)
    def delete(self, request: Request, key_id: str) -> Response:
        """Make an unused token useless. Calm when repeated."""
        token = join_queries.token(key_id)
        if token is None:
            raise NotFoundError(f"there is no join token {key_id!r}")
        joins.revoke(token)
        return Response(status=204)


def ca_sha256() -> str:
    """Of the pool's CA; StateConflictError, with the remedy, when no machine could join."""
    found = join_queries.ca_sha256()
    if not found or not join_queries.address():
        raise StateConflictError(
            "other machines cannot reach this control plane: set STOA_POOL_ADDRESS to the address"
            " of this machine by which they do, and run bin/up"
        )
    return found


def _host(name: str) -> Host:
    view = pool.host(name, timezone.now())
    if view is None:
        raise NotFoundError(f"there is no host {name!r}")
    return view.host


def _host_body(name: str) -> Response:
    view = pool.host(name, timezone.now())
    if view is None:
        raise NotFoundError(f"there is no host {name!r}")
    return Response(bodies.host(view))
