"""/internal/v1/join and /internal/v1/hosts: a machine becomes a host, looks whether it is seen, and leaves.

Served by the program `depot` alone. A join proves itself by its token, a host by its own.
"""

import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

from django.conf import settings
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.accounts import tokens
from tenants.api.base import ApiView
from tenants.api.declared import LEFT_OUT, About, LeftOut, checked
from tenants.api.v1 import pool_bodies
from tenants.errors import FieldError, NotFoundError
from tenants.pool import hosts, join_queries, joins, overview
from tenants.pool.models import Host
from tenants.pool.registration import AgentSecrets, MachineResources

# A certificate is judged by the machine's clock, and so is much else.
MOST_SKEW_SECONDS = 300


class NotThatHostError(exceptions.APIException):
    """The credential is not the host's own; it may have been taken out of the pool."""

    status_code = 401
    default_code = "authentication_failed"
    default_detail = "This is not the token of that host."


_Port = Annotated[int, About(min_value=1, max_value=65535)]


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """How much of a machine."""

    cpu_millis: Annotated[int, About(min_value=0, max_value=10**8)]
    memory_bytes: Annotated[int, About(min_value=0, max_value=2**53)]
    disk_bytes: Annotated[int, About(min_value=0, max_value=2**60)]

    def room(self) -> MachineResources:
        """Return the same as the services take it."""
        return MachineResources(self.cpu_millis, self.memory_bytes, self.disk_bytes)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A machine's request. What may be is the service's to say; here are the types."""

    key_id: Annotated[str, About(max_length=16)]
    secret: Annotated[str, About(max_length=64)]
    machine_key: Annotated[str, About(min_length=32, max_length=64)]
    name: Annotated[str, About(max_length=32)]
    address: Annotated[str, About(max_length=15)]
    first_port: _Port
    last_port: _Port
    capacity: RoomRequest
    reserve: RoomRequest
    broker_sha256: Annotated[str, About(max_length=64)]
    token_sha256: Annotated[str, About(max_length=64)]
    clock: Annotated[float, About("the machine's own, in seconds since 1970")]
    probe_port: _Port = 9797
    only_check: bool = False

    def wish(self) -> joins.Wish:
        """Return what the machine wants to be."""
        return joins.Wish(
            name=self.name,
            address=self.address,
            ports=range(self.first_port, self.last_port + 1),
            probe_port=self.probe_port,
            capacity=self.capacity.room(),
            reserve=self.reserve.room(),
            secrets=AgentSecrets(self.broker_sha256, self.token_sha256),
        )


@dataclass(frozen=True, slots=True)
class ImageBody:
    """An image that a host is to have."""

    digest: str
    source: str


@dataclass(frozen=True, slots=True)
class JoinBody:
    """What a host has to know of the pool; no secret among it. host, epoch: of one that was taken in."""

    broker_port: int
    edge_sources: tuple[str, ...]
    edge_addresses: tuple[str, ...]
    images: tuple[ImageBody, ...]
    host: str | LeftOut = LEFT_OUT
    epoch: int | LeftOut = LEFT_OUT


class _Internal(ApiView):
    authentication_classes = []
    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Machines come directly; what came through a proxy came from outside."""
        if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
            raise exceptions.NotFound("There is nothing here.")
        super().initial(request, *args, **kwargs)


class JoinView(_Internal):
    """The way into the pool."""

    def post(self, request: Request) -> Response:
        """Take the machine in, or with only_check say whether we would; with all it needs to begin."""
        # Machines may be a version ahead, so a field that we do not know is no error.
        asked = checked(JoinRequest, request.data, is_strict=False)
        skew = asked.clock - time.time()
        if abs(skew) > MOST_SKEW_SECONDS:
            raise FieldError(
                f"the machine's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'};"
                " set it right first, for example with chrony",
                field="clock",
            )
        credential = joins.Credential(asked.key_id, asked.secret, asked.machine_key)
        reach = joins.EdgeNetworks(settings.STOA_EDGE_NETWORKS, settings.STOA_PORTS)
        wish = asked.wish()
        if asked.only_check:
            joins.check(credential, wish, reach=reach)
            return Response(_terms())
        host = joins.accept(credential, wish, reach=reach)
        return Response(replace(_terms(), host=host.name, epoch=host.epoch))


class HostSelfView(_Internal):
    """A host's look at itself."""

    def get(self, request: Request, name: str) -> Response:
        """Return what the pool sees of the host whose token comes along."""
        _host_of(request, name)
        view = overview.host(name, timezone.now())
        if view is None:
            raise NotFoundError(f"there is no host {name}")
        return Response(replace(pool_bodies.host(view), age_seconds=view.age_seconds))


class LeaveView(_Internal):
    """The way out."""

    def post(self, request: Request, name: str) -> Response:
        """Take the host out of the pool, when it holds nothing; its credentials end with this answer."""
        hosts.remove(_host_of(request, name), by=f"the host {name} itself")
        return Response({"host": name})


def _host_of(request: Request, name: str) -> Host:
    keyword, _, secret = request.headers.get("Authorization", "").partition(" ")
    host = Host.objects.filter(name=name).first()
    # An unknown host costs the same comparison, so that names cannot be tried out.
    is_known = tokens.matches(secret.strip(), host.token_sha256 if host else "0" * 64)
    if keyword.lower() != "bearer" or host is None or not is_known:
        raise NotThatHostError
    return host


def _terms() -> JoinBody:
    sources = [settings.STOA_POOL_ADDRESS, *settings.STOA_EDGE_SOURCES]
    return JoinBody(
        broker_port=settings.STOA_REDIS_PORT,
        edge_sources=tuple(source for source in sources if source),
        edge_addresses=settings.STOA_EDGE_ADDRESSES,
        images=tuple(ImageBody(*image) for image in join_queries.current_images()),
    )
