"""How a machine becomes a host: a token that works once, exchanged for credentials the machine made itself.

The machine keeps its broker password, its HTTP token and a key of its own; the database gets only their
SHA-256. So a lost answer can be asked for again, and an overheard one is worth nothing. A token belongs to
the machine that used it first; that machine may repeat for some minutes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

from django.db import transaction
from django.db.models.functions import Now

from tenants.accounts import tokens
from tenants.core import dispatch
from tenants.errors import FieldError, JoinRefusedError
from tenants.placement.models import Placement
from tenants.pool import hosts, registration
from tenants.pool.models import Host, JoinToken
from tenants.pool.registration import AgentSecrets, MachineResources
from tenants.states import HostState

VERSION = "J1"
LONGEST = timedelta(days=7)
SHORTEST = timedelta(minutes=1)
# From its first use on the same machine may go on trying with a token for so long.
REPEAT_FOR = timedelta(minutes=30)

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LEAST_PORTS = 16


@dataclass(frozen=True, slots=True)
class NewJoinToken:
    """A token just made; text is the only copy of the whole credential."""

    token: JoinToken
    text: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What a machine proves itself by: a join token's two halves, and the key it made itself."""

    key_id: str
    secret: str = field(repr=False)
    machine_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EdgeNetworks:
    """Where edges route to; networks may be empty: then any address is taken."""

    networks: tuple[IPv4Network, ...]
    ports: range


@dataclass(frozen=True, slots=True)
class Wish:
    """What a machine would be in the pool."""

    name: str
    address: str
    ports: range
    capacity: MachineResources
    reserve: MachineResources
    secrets: AgentSecrets
    probe_port: int = 9797


def create(
    *,
    created_by: str,
    ca_sha256: str,
    zone: str = "default",
    labels: Mapping[str, str] | None = None,
    lifetime: timedelta = timedelta(hours=24),
) -> NewJoinToken:
    """Make a token for one machine. Raises FieldError.

    ca_sha256: of the certificate by which that machine shall know us. zone, labels: what its host gets.
    """
    if not SHORTEST <= lifetime <= LONGEST:
        raise FieldError(
            f"ttl is {lifetime}; it must be from {SHORTEST} to {LONGEST.days} days", field="ttl"
        )
    key_id, secret = tokens.random_text(12), tokens.random_text(38)
    token = JoinToken.objects.create(
        key_id=key_id,
        secret_sha256=tokens.sha256(secret),
        created_by=created_by[:254],
        zone=hosts.check_zone(zone),
        labels=hosts.check_labels(labels or {}),
        expires_at=Now() + lifetime,
    )
    token.refresh_from_db()
    return NewJoinToken(token=token, text=f"{VERSION}.{ca_sha256}.{key_id}.{secret}")


def revoke(token: JoinToken) -> None:
    """Make an unused token useless. Idempotent."""
    JoinToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now())


def check(credential: Credential, wish: Wish, *, reach: EdgeNetworks) -> None:
    """Whether `accept` would do it now; changes nothing. Raises as it does."""
    _token(credential)
    _check_wish(wish, tokens.sha256(credential.machine_key), reach)


@transaction.atomic
def accept(credential: Credential, wish: Wish, *, reach: EdgeNetworks) -> Host:
    """Take the machine into the pool and use the token up; repeating it changes nothing more.

    Raises JoinRefusedError, FieldError.
    """
    token = _token(credential, for_update=True)
    machine = tokens.sha256(credential.machine_key)
    _check_wish(wish, machine, reach)
    host = registration.ensure_host(
        wish.name,
        address=wish.address,
        ports=wish.ports,
        secrets=wish.secrets,
        capacity=wish.capacity,
        reserve=wish.reserve,
    )
    changes: dict[str, object] = {"machine_sha256": machine, "probe_port": wish.probe_port}
    if token.used_at is None:
        # An operator may have changed them since, so a repeat leaves them alone.
        changes |= {"zone": token.zone, "labels": token.labels}
    Host.objects.filter(pk=host.pk).update(**changes)
    JoinToken.objects.filter(pk=token.pk, used_at__isnull=True).update(
        used_at=Now(), machine_sha256=machine
    )
    JoinToken.objects.filter(pk=token.pk).update(host=host)
    dispatch.apply_broker_users()
    host.refresh_from_db()
    return host


def _token(credential: Credential, *, for_update: bool = False) -> JoinToken:
    rows = JoinToken.objects.filter(key_id=credential.key_id[:16])
    if for_update:
        rows = rows.select_for_update()
    token = rows.annotate(asked_at=Now()).first()
    # An unknown one costs the same comparison, so that ids cannot be tried out.
    is_right = tokens.matches(credential.secret, token.secret_sha256 if token else "0" * 64)
    if token is None or not is_right:
        raise JoinRefusedError("this join token is unknown; check that you copied all of it")
    if token.revoked_at is not None:
        raise JoinRefusedError("this join token was revoked; make another: stoa host token create")
    asked_at: datetime = token.asked_at
    if token.used_at is None:
        if asked_at >= token.expires_at:
            raise JoinRefusedError(
                f"this join token expired {_ago(asked_at - token.expires_at)} ago; "
                "make another: stoa host token create"
            )
        return token
    if not tokens.matches(credential.machine_key, token.machine_sha256):
        raise JoinRefusedError(
            "another machine has used this join token; make another: stoa host token create"
        )
    if asked_at - token.used_at > REPEAT_FOR:
        raise JoinRefusedError(
            f"this join token was used {_ago(asked_at - token.used_at)} ago; this machine could repeat"
            f" for {_ago(REPEAT_FOR)}; make another: stoa host token create"
        )
    return token


def _check_wish(wish: Wish, machine: str, reach: EdgeNetworks) -> None:
    if not _NAME.fullmatch(wish.name):
        raise FieldError(
            f"name is {wish.name[:40]!r}; it must be 1 to 32 of a-z, 0-9 and -, starting with a letter",
            field="name",
        )
    if not all(map(_SHA256.fullmatch, (wish.secrets.broker_sha256, wish.secrets.token_sha256))):
        raise FieldError("broker_sha256 and token_sha256 must be 64 hexadecimal digits")
    ports, routed = wish.ports, reach.ports
    if len(ports) < _LEAST_PORTS or ports.start not in routed or ports.stop - 1 not in routed:
        raise FieldError(
            f"ports are {ports.start}-{ports.stop - 1}; give at least {_LEAST_PORTS} within"
            f" {routed.start}-{routed.stop - 1}, to which edges route",
            field="ports",
        )
    registration.check_room(wish.capacity, wish.reserve)
    _check_address(wish, reach)
    same_name = Host.ever.filter(name=wish.name).first()
    if same_name is None:
        return
    if same_name.machine_sha256 != machine and same_name.state != HostState.REMOVED:
        raise FieldError(
            f"another machine is already the host {wish.name}; give this one another name: --name",
            field="name",
        )
    if (
        same_name.state == HostState.REMOVED
        and Placement.objects.filter(host=same_name, until__isnull=True).exists()
    ):
        raise FieldError(
            f"the host {wish.name} was removed, and some of its shops are not elsewhere yet; choose"
            " another name: --name",
            field="name",
        )


def _check_address(wish: Wish, reach: EdgeNetworks) -> None:
    try:
        address = IPv4Address(wish.address)
    except ValueError as error:
        raise FieldError(f"address is {wish.address[:40]!r}: {error}", field="address") from error
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise FieldError(f"edges cannot reach {address}; give --address", field="address")
    if reach.networks and not any(address in network for network in reach.networks):
        raise FieldError(
            f"edges route to {', '.join(map(str, reach.networks))} only, and {address} is in none of them;"
            " give --address, or add its network to STOA_EDGE_NETWORKS on the control plane and run bin/up",
            field="address",
        )
    for other in Host.objects.filter(address=wish.address).exclude(name=wish.name):
        if other.probe_port == wish.probe_port:
            raise FieldError(
                f"the host {other.name} answers probes at {wish.address}:{other.probe_port} already; give"
                " --address or --probe-port",
                field="probe_port",
            )
        if wish.ports.start <= other.last_port and other.first_port < wish.ports.stop:
            raise FieldError(
                f"the host {other.name} publishes {other.first_port}-{other.last_port} at"
                f" {wish.address} already; give --address or --ports",
                field="address",
            )


def _ago(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
