"""Settings of an edge, read from the environment once."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from pathlib import Path

from runtime.errors import SpecInvalidError
from runtime.ids import check_host_name

# Each connection may need two descriptors (client and shop), and a held one another for the hold service.
_DESCRIPTORS_PER_CONNECTION = 2.3
_MOST_CONNECTIONS = 8000
_USUAL_SOURCE_CONNECTIONS = 200
_USUAL_SOURCE_REQUESTS = 5000
_UNIX_PATH_CEILING = 100  # the kernel takes 107; HAProxy adds a suffix while it takes a socket over


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
    domain: str
    console_host: str
    public_scheme: str
    networks: tuple[IPv4Network, ...]
    ports: range
    maxconn: int
    web_address: str
    events_address: str
    tenant_connections: int = 1000
    held_per_tenant: int = 200
    hold_seconds: float = 15.0
    user: str = ""
    source_connections: int = _USUAL_SOURCE_CONNECTIONS
    source_requests: int = _USUAL_SOURCE_REQUESTS
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    proxy_port: int = 0
    page_seconds: int = 60
    silent_seconds: int = 3600
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
    base = _number(environ, "STOA_PORT_BASE", 18800)
    http_port = _number(environ, "STOA_HTTP_PORT", 8080)
    most = min(_MOST_CONNECTIONS, int((descriptors - 200) / _DESCRIPTORS_PER_CONNECTION))
    first, _, last = environ.get("STOA_PORTS", "10000-32767").partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        raise _wrong("STOA_PORTS", f"{first}-{last}", "two numbers with - between, as 10000-32767")
    maxconn = _number(environ, "STOA_EDGE_MAXCONN", most)
    usual_share = max(50, min(_USUAL_SOURCE_CONNECTIONS, maxconn // 20))
    return EdgeConfig(
        name=check_host_name(environ.get("STOA_EDGE_NAME", "local")),
        state_dir=_state_dir(environ.get("STOA_EDGE_STATE", "/var/lib/stoa/edge")),
        http_port=http_port,
        public_port=_number(environ, "STOA_PUBLIC_PORT", http_port),
        port_base=base,
        domain=environ.get("STOA_DOMAIN", "localhost").lower(),
        console_host=environ.get("STOA_CONSOLE_HOST", "localhost").lower(),
        public_scheme=_scheme(environ.get("STOA_PUBLIC_SCHEME", "http")),
        networks=_networks(environ.get("STOA_EDGE_NETWORKS") or environ.get("STOA_SUBNET", "")),
        ports=range(int(first), int(last) + 1),
        maxconn=maxconn,
        web_address=environ.get("STOA_WEB_ADDRESS") or f"127.0.0.1:{base + 2}",
        events_address=environ.get("STOA_EVENTS_ADDRESS") or f"127.0.0.1:{base + 3}",
        tenant_connections=_number(environ, "STOA_EDGE_TENANT_CONNECTIONS", max(100, most // 8)),
        held_per_tenant=_number(environ, "STOA_EDGE_HELD_PER_TENANT", 200),
        user=_user(environ.get("STOA_EDGE_USER", "")),
        source_connections=_number(environ, "STOA_EDGE_SOURCE_CONNECTIONS", usual_share),
        source_requests=_number(environ, "STOA_EDGE_SOURCE_REQUESTS", _USUAL_SOURCE_REQUESTS),
        proxies=_proxies(environ.get("STOA_EDGE_PROXIES", "")),
        proxy_port=_proxy_port(environ),
        page_seconds=_number(environ, "STOA_EDGE_PAGE_SECONDS", 60),
        silent_seconds=_number(environ, "STOA_EDGE_SILENT_SECONDS", 3600),
        has_ipv6=_kernel_has_ipv6() if has_ipv6 is None else has_ipv6,
    )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise _wrong(name, text, "a whole number from 1 to 65535")
    return int(text)


def _scheme(text: str) -> str:
    if text not in {"http", "https"}:
        raise _wrong("STOA_PUBLIC_SCHEME", text, "http or https")
    return text


def _user(name: str) -> str:
    if name and not name.replace("-", "").replace("_", "").isalnum():
        raise _wrong("STOA_EDGE_USER", name, "the name of a system user, as haproxy")
    return name


def _networks(text: str) -> tuple[IPv4Network, ...]:
    try:
        return tuple(IPv4Network(part.strip()) for part in (text or "100.96.0.0/16").split(","))
    except ValueError as error:
        raise _wrong(
            "STOA_EDGE_NETWORKS or STOA_SUBNET", text, "networks as 100.96.0.0/16, commas between"
        ) from error


def _proxies(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise _wrong(
            "STOA_EDGE_PROXIES", text, "networks as 192.0.2.0/24 or 2001:db8::/64, commas between"
        ) from error


def _proxy_port(environ: Mapping[str, str]) -> int:
    """The port for the PROXY protocol; only from known proxies, or anybody could name any address."""
    if not environ.get("STOA_EDGE_PROXY_PORT"):
        return 0
    port = _number(environ, "STOA_EDGE_PROXY_PORT", 0)
    if not environ.get("STOA_EDGE_PROXIES", "").strip():
        raise _wrong("STOA_EDGE_PROXIES", "", "set too when STOA_EDGE_PROXY_PORT is")
    if port == _number(environ, "STOA_HTTP_PORT", 8080):
        raise _wrong("STOA_EDGE_PROXY_PORT", str(port), "another port than STOA_HTTP_PORT")
    return port


def _kernel_has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _state_dir(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or any(sign in text for sign in " ;\\'\"#"):
        raise _wrong("STOA_EDGE_STATE", text, "an absolute path without spaces, quotes, ; # or \\")
    if len(text) + len("/haproxy.sock") > _UNIX_PATH_CEILING:
        raise _wrong("STOA_EDGE_STATE", text, "a shorter path: a socket has to fit in it")
    return path


def _wrong(name: str, value: str, right: str) -> SpecInvalidError:
    return SpecInvalidError(f"{name} is {value!r}; it must be {right}", field=name)
