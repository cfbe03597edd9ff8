"""What edges should hold: one row per hostname, every change numbered."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from django.conf import settings
from django.db import connection

from tenants.errors import RouteRefusedError
from tenants.placement.models import Route
from tenants.pool.models import Edge
from tenants.shops.models import Tenant

# The row lock makes sequences of one tenant grow in the order in which they commit.
_SET = """
WITH locked AS (SELECT id FROM tenants_tenant WHERE id = %(tenant)s FOR NO KEY UPDATE)
INSERT INTO tenants_route (hostname, tenant_id, value, sequence)
SELECT %(hostname)s, id, %(value)s, nextval('tenants_route_order') FROM locked
ON CONFLICT (hostname) DO UPDATE
   SET tenant_id = EXCLUDED.tenant_id, value = EXCLUDED.value, sequence = EXCLUDED.sequence,
       changed_at = statement_timestamp()
RETURNING sequence
"""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What is sent to an edge; value "" withdraws the hostname. Edges ignore lower sequences."""

    hostname: str
    value: str
    sequence: int


def hostname_of(tenant: Tenant) -> str:
    """Return the shop's own hostname under the platform's domain."""
    return f"{tenant.slug}.{settings.STOA_DOMAIN}"


def value_to(tenant: Tenant, *, address: str, port: int) -> str:
    """Return the value of a route that leads to a host's published port."""
    return f"{tenant.slug}@{address}:{port}"


def leads_to(tenant: Tenant, *, address: str, port: int) -> bool:
    """Return whether the tenant's requests are sent to a host's published port, by the record."""
    value = value_to(tenant, address=address, port=port)
    return Route.objects.filter(hostname=hostname_of(tenant), value=value).exists()


def is_held(tenant: Tenant) -> bool:
    """Return whether the tenant's requests are to be held at the edges, by the record."""
    return Route.objects.filter(hostname=hostname_of(tenant), value=_hold(tenant)).exists()


def was_opened(tenant: Tenant) -> bool:
    """Return whether a route to the tenant's shop was ever recorded, which is done before any edge gets it:
    since then visitors may have left something there.
    """
    return Route.objects.filter(tenant=tenant).exists()


def check_accepted(tenant: Tenant, *, address: str, port: int) -> None:
    """Raise RouteRefusedError when an edge that serves has said that it cannot lead there.

    Edges say with each report what they accept; one that has not said so yet is not asked.
    """
    for edge in Edge.objects.filter(is_synced=True).exclude(accepts={}):
        networks, ports = edge.accepts["networks"], edge.accepts["ports"]
        if hostname_of(tenant) == edge.accepts["console"]:
            why = f"{hostname_of(tenant)} is the name of the platform's own pages"
        elif not any(IPv4Address(address) in IPv4Network(network) for network in networks):
            why = f"{address} lies outside {', '.join(networks)} (STOA_EDGE_NETWORKS)"
        elif not ports[0] <= port <= ports[1]:
            why = f"port {port} lies outside {ports[0]}-{ports[1]} (STOA_PORTS)"
        else:
            continue
        raise RouteRefusedError(f"edge {edge.name} cannot lead there: {why}")


def to_address(tenant: Tenant, *, address: str, port: int) -> RouteChange:
    """Send the tenant's requests to a host's published port. Raises RouteRefusedError."""
    check_accepted(tenant, address=address, port=port)
    return _set(tenant, value_to(tenant, address=address, port=port))


def to_hold(tenant: Tenant) -> RouteChange:
    """Have edges hold the tenant's requests until the next change."""
    return _set(tenant, _hold(tenant))


def withdraw(tenant: Tenant) -> RouteChange:
    """Take the hostname off every edge. The row stays, so that edges that were away learn of it."""
    return _set(tenant, "")


def _hold(tenant: Tenant) -> str:
    return f"{tenant.slug}@hold"


def _set(tenant: Tenant, value: str) -> RouteChange:
    hostname = hostname_of(tenant)
    with connection.cursor() as cursor:
        cursor.execute(_SET, {"hostname": hostname, "tenant": tenant.pk, "value": value})
        sequence = cursor.fetchone()[0]
    return RouteChange(hostname=hostname, value=value, sequence=sequence)
