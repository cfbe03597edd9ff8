"""Settings of an edge, read from the environment once."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from runtime.config import as_invalid_spec
from settings import common, edges, fit, hosts, inner

# Each connection may need two descriptors (client and shop), and a held one another for the hold service.
_DESCRIPTORS_PER_CONNECTION = 2.3
_MOST_CONNECTIONS = 8000
_USUAL_SOURCE_CONNECTIONS = 200


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """One edge's settings.

    networks and ports bound the addresses a route may lead to: nothing else is ever connected to.
    http_port is where HAProxy listens, public_port what browsers write (another one behind a TLS proxy).
    maxconn: connections in all; tenant_connections: requests of one tenant at once, beyond it 429.
    source_connections, source_requests: connections of one visitor's address at once, and its requests
    in ten seconds; an address is an IPv4 address or an IPv6 network of 64 bits.
    proxies: networks of proxies in front, which are believed whom they speak for; proxy_port: where they
    may speak the PROXY protocol, 0 for nowhere. page_seconds: how long a visitor waits for a page to
    begin; silent_seconds: how long anything else may stay silent.
    hold_seconds: how long a request is held; held_per_tenant: how many of one tenant at once.
    web_address, events_address: `host:port` of the platform's own two programs.
    user: whom HAProxy's workers become once the ports are open, "" to stay who started them.
    """

    name: str
    state_dir: Path
    http_port: int
    public_port: int
    port_base: int
    console_host: str
    public_scheme: str
    networks: tuple[IPv4Network, ...]
    ports: range
    maxconn: int
    web_address: str
    events_address: str
    tenant_connections: int
    held_per_tenant: int
    user: str
    source_connections: int
    source_requests: int
    proxies: tuple[IPv4Network | IPv6Network, ...]
    proxy_port: int
    page_seconds: int
    silent_seconds: int
    hold_seconds: float = 15.0
    has_ipv6: bool = False

    @property
    def hold_port(self) -> int:
        """Loopback port of the hold service inside the edge agent."""
        return self.port_base + 4

    @property
    def health_port(self) -> int:
        """Loopback port of HAProxy's health, metrics and statistics pages."""
        return self.port_base + 5

    @property
    def held_total(self) -> int:
        """Return how many requests may be held at once over all tenants: a quarter of the connections."""
        return self.maxconn // 4

    @property
    def socket_path(self) -> Path:
        """HAProxy's runtime socket."""
        return self.state_dir / "haproxy.sock"

    @property
    def master_path(self) -> Path:
        """The socket of HAProxy's master process, which knows the workers of before a reload too."""
        return self.state_dir / "master.sock"

    @property
    def cfg_path(self) -> Path:
        """HAProxy's configuration file."""
        return self.state_dir / "haproxy.cfg"

    @property
    def map_path(self) -> Path:
        """HAProxy's map file; also the map's name on the runtime socket."""
        return self.state_dir / "routes.map"

    @property
    def console_url(self) -> str:
        """Address of the platform's own pages, as a browser writes it."""
        usual = {"http": 80, "https": 443}[self.public_scheme]
        port = "" if self.public_port == usual else f":{self.public_port}"
        return f"{self.public_scheme}://{self.console_host}{port}/"

    def leads_to_a_host(self, address: IPv4Address, port: int) -> bool:
        """Return whether a route may name this address."""
        return port in self.ports and any(address in network for network in self.networks)


def edge_config(
    environ: Mapping[str, str], *, descriptors: int, has_ipv6: bool | None = None
) -> EdgeConfig:
    """Read EdgeConfig from STOA_* variables; SpecInvalidError names the variable that is wrong.

    descriptors: the hard limit on open files, from which the number of connections follows.
    has_ipv6: whether to listen by IPv6; None asks the kernel.
    """
    most = min(_MOST_CONNECTIONS, int((descriptors - 200) / _DESCRIPTORS_PER_CONNECTION))
    with as_invalid_spec():
        fit.edge(environ)
        maxconn = edges.MAXCONN.of(environ) or most
        usual_share = max(50, min(_USUAL_SOURCE_CONNECTIONS, maxconn // 20))
        return EdgeConfig(
            name=edges.NAME.of(environ),
            state_dir=inner.EDGE_STATE.of(environ),
            http_port=common.HTTP_PORT.of(environ),
            public_port=common.PUBLIC_PORT.of(environ),
            port_base=common.PORT_BASE.of(environ),
            console_host=common.CONSOLE_HOST.of(environ),
            public_scheme=common.PUBLIC_SCHEME.of(environ),
            networks=edges.NETWORKS.of(environ),
            ports=hosts.PORTS.of(environ),
            maxconn=maxconn,
            web_address=inner.WEB_ADDRESS.of(environ),
            events_address=inner.EVENTS_ADDRESS.of(environ),
            tenant_connections=edges.TENANT_CONNECTIONS.of(environ) or max(100, most // 8),
            held_per_tenant=edges.HELD_PER_TENANT.of(environ),
            user=inner.EDGE_USER.of(environ),
            source_connections=edges.SOURCE_CONNECTIONS.of(environ) or usual_share,
            source_requests=edges.SOURCE_REQUESTS.of(environ),
            proxies=edges.PROXIES.of(environ),
            proxy_port=edges.PROXY_PORT.of(environ) or 0,
            page_seconds=edges.PAGE_SECONDS.of(environ),
            silent_seconds=edges.SILENT_SECONDS.of(environ),
            has_ipv6=_kernel_has_ipv6() if has_ipv6 is None else has_ipv6,
        )


def _kernel_has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
