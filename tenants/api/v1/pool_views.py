"""/api/v1/hosts and /api/v1/host-tokens: the pool, for operators."""

from datetime import timedelta

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample
from rest_framework.request import Request

from tenants.api.authentication import IsOperator
from tenants.api.base import ApiView
from tenants.api.declared import Sent
from tenants.api.endpoint import WHO, endpoint
from tenants.api.v1 import pool_bodies as bodies
from tenants.api.v1.pool_requests import ForgetRequest, HostEdit, JoinTokenRequest
from tenants.errors import NotFoundError, StateConflictError
from tenants.pool import hosts, join_queries, joins, overview
from tenants.pool.models import Host

_ONE = WHO | {404: "No host of that name."}
_NOT_NOW = {409: "Its state, or what it holds, does not allow this; the message says why."}
_UNCONFIRMED = {400: "The name was not typed."}
_LABELS = OpenApiExample(
    "Labels", value={"labels": {"rack": "b4"}, "zone": "tokyo-1"}, request_only=True
)


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

    @endpoint("hosts_list", errors=WHO)
    def get(self, request: Request) -> bodies.HostsBody:
        """Return every host with its capacity, what is booked on it and what is measured."""
        return bodies.HostsBody(tuple(bodies.host(host) for host in overview.hosts(timezone.now())))


class HostDetailView(OperatorsView):
    """One host."""

    @endpoint("hosts_get", errors=_ONE)
    def get(self, request: Request, name: str) -> bodies.HostBody:
        """Return the host with its capacity, what is booked on it and what is measured."""
        return _host_body(name)

    @endpoint("hosts_edit", errors=_ONE, examples=[_LABELS])
    def patch(self, request: Request, name: str, sent: Sent[HostEdit]) -> bodies.HostBody:
        """Change its zone, engine, labels or reserve; what is left out stays."""
        host = host_named(name)
        hosts.edit(host, **sent.checked().changes(host))
        return _host_body(name)

    @endpoint("hosts_remove", status=204, errors=_ONE | _NOT_NOW)
    def delete(self, request: Request, name: str) -> None:
        """Take an empty host out of the pool; its credentials end with it."""
        hosts.remove(host_named(name), by=self.by)


class CordonView(OperatorsView):
    """No new shops."""

    @endpoint("hosts_cordon", errors=_ONE | _NOT_NOW)
    def post(self, request: Request, name: str) -> bodies.HostBody:
        """Place no new shops there; what runs goes on. Calm when repeated."""
        hosts.cordon(host_named(name), by=self.by)
        return _host_body(name)


class UncordonView(OperatorsView):
    """New shops again."""

    @endpoint("hosts_uncordon", errors=_ONE | _NOT_NOW)
    def post(self, request: Request, name: str) -> bodies.HostBody:
        """Place shops there again. Calm when repeated."""
        hosts.uncordon(host_named(name), by=self.by)
        return _host_body(name)


class LostView(OperatorsView):
    """A host of which an operator knows that it will not be back soon."""

    @endpoint("hosts_lost", errors=_ONE | _NOT_NOW | _UNCONFIRMED)
    def post(self, request: Request, name: str, sent: Sent[ForgetRequest]) -> bodies.HostBody:
        """Bring an unreachable host's shops back elsewhere now, from their last snapshots."""
        confirm = sent.checked().confirm
        hosts.declare_lost(host_named(name), confirm=confirm, by=self.by)
        return _host_body(name)


class ForgetView(OperatorsView):
    """A host that will not come back."""

    @endpoint("hosts_forget", status=204, errors=_ONE | _NOT_NOW | _UNCONFIRMED)
    def post(self, request: Request, name: str, sent: Sent[ForgetRequest]) -> None:
        """Take a lost host out of the pool; its broker user and tokens end at once."""
        confirm = sent.checked().confirm
        hosts.forget(host_named(name), confirm=confirm, by=self.by)


class JoinTokensView(OperatorsView):
    """What lets machines in."""

    @endpoint("host_tokens_list", errors=WHO)
    def get(self, request: Request) -> bodies.JoinTokensBody:
        """Return the newest join tokens and what became of each; never a secret."""
        return bodies.JoinTokensBody(
            tuple(bodies.join_token(token) for token in join_queries.tokens())
        )

    @endpoint(
        "host_tokens_create",
        status=201,
        errors=WHO
        | {409: "No other machine can reach this control plane; STOA_POOL_ADDRESS is not set."},
    )
    def post(self, request: Request, sent: Sent[JoinTokenRequest]) -> bodies.NewJoinTokenBody:
        """Make a token for one machine; its text is in this answer and nowhere else."""
        given = sent.checked()
        made = joins.create(
            created_by=self.by,
            ca_sha256=ca_sha256(),
            zone=given.zone,
            labels={**given.labels},
            lifetime=timedelta(seconds=given.ttl_seconds),
        )
        return bodies.NewJoinTokenBody(
            id=made.token.key_id,
            token=made.text,
            address=join_queries.address(),
            command=join_queries.command(made.text),
            expires_at=made.token.expires_at,
        )


class JoinTokenView(OperatorsView):
    """One join token."""

    @endpoint("host_tokens_revoke", status=204, errors=WHO | {404: "No such token."})
    def delete(self, request: Request, key_id: str) -> None:
        """Make an unused token useless. Calm when repeated."""
        token = join_queries.token(key_id)
        if token is None:
            raise NotFoundError(f"there is no join token {key_id!r}")
        joins.revoke(token)


def ca_sha256() -> str:
    """Of the pool's CA; StateConflictError, with the remedy, when no machine could join."""
    found = join_queries.ca_sha256()
    if not found or not join_queries.address():
        raise StateConflictError(
            "other machines cannot reach this control plane: set STOA_POOL_ADDRESS to the address"
            " of this machine by which they do, and run bin/up"
        )
    return found


def host_named(name: str) -> Host:
    """Return the row of a host. Raises NotFoundError."""
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise NotFoundError(f"there is no host {name!r}")
    return host


def _host_body(name: str) -> bodies.HostBody:
    found = overview.host(name, timezone.now())
    if found is None:
        raise NotFoundError(f"there is no host {name!r}")
    return bodies.host(found)
