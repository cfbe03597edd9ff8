"""Settings of a host or edge, read from the environment once, at the edge of the program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from runtime.errors import SpecInvalidError
from runtime.ids import check_host_name

_Listed = TypeVar("_Listed", IPv4Address, IPv4Network)


PROBE_PORT = 9797


@dataclass(frozen=True, slots=True)
class ImageAccess:
    """How this host proves itself to the sources of images, and whom it believes.

    auth_file: a docker-style auth file for registries, mode 0600. ca_dir: directory of *.crt files that
    sign registries' certificates, beside those of the system. control_url: where the control plane answers
    ("" = it is not asked); control_ca: the CA of its certificate; token_file: this host's token there.
    """

    auth_file: Path | None = None
    ca_dir: Path | None = None
    control_url: str = ""
    token_file: Path | None = None
    control_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One host's own settings.

    scope keeps two Stoas on one machine apart: it names the cgroup parent, the nftables table and,
    hashed, the interfaces. subnet holds the containers; its first address is the host's own.
    edges: public addresses of edges, which tenants reach on ports 80 and 443 wherever they are.
    edge_sources: from where edges on other machines connect to published ports; this machine itself
    always may.
    resolver: the name server that containers' questions go to; None for that of /etc/resolv.conf.
    images: where images are fetched that this host lacks.
    probe_port: where the keeper listens for edges that ask whether this machine lives.
    published_at: the machine's own address, by which edges on other machines reach published ports.
    broker: where Redis listens for hosts on other machines, on the machine that has it.
    """

    name: str
    scope: str
    state_dir: Path
    subnet: IPv4Network
    ports: range
    edges: tuple[IPv4Address, ...] = ()
    edge_sources: tuple[IPv4Network, ...] = ()
    resolver: IPv4Address | None = None
    images: ImageAccess = ImageAccess()
    probe_port: int = PROBE_PORT
    published_at: IPv4Address | None = None
    broker: tuple[IPv4Address, int] | None = None

    @property
    def address(self) -> IPv4Address:
        """The host's own address among its containers; published ports live here too."""
        return self.subnet[1]

    @property
    def edge_address(self) -> IPv4Address:
        """The address edges connect to."""
        return self.published_at or self.address

    @property
    def interface_prefix(self) -> str:
        """Start of every interface name of this scope and host: `v` and 4 hex digits and `-`."""
        return f"v{crc32(f'{self.scope}/{self.name}'.encode()) & 0xFFFF:04x}-"

    @property
    def keeper_socket(self) -> Path:
        """Return the socket at which the keeper listens for its agent and the command line."""
        return self.state_dir / "keeper.sock"


def host_config(environ: Mapping[str, str]) -> HostConfig:
    """Read HostConfig from STOA_* variables; SpecInvalidError names the variable that is wrong."""
    first, _, last = environ.get("STOA_PORTS", "10000-32767").partition("-")
    try:
        ports = range(int(first), int(last) + 1)
        subnet = IPv4Network(environ.get("STOA_SUBNET", "100.96.0.0/16"))
    except ValueError as error:
        raise SpecInvalidError(
            f"STOA_PORTS or STOA_SUBNET: {error}", field="STOA_SUBNET"
        ) from error
    resolvers = _listed(environ, "STOA_RESOLVER", IPv4Address)
    if len(resolvers) > 1 or any(one.is_loopback for one in resolvers):
        raise SpecInvalidError(
            "STOA_RESOLVER must be one address, and not on loopback: containers cannot be led there",
            field="STOA_RESOLVER",
        )
    return HostConfig(
        name=check_host_name(environ.get("STOA_HOST_NAME", "local")),
        scope=check_host_name(environ.get("STOA_SCOPE", "stoa")),
        state_dir=Path(environ.get("STOA_HOST_STATE", "/var/lib/stoa/host")),
        subnet=subnet,
        ports=ports,
        probe_port=_probe_port(environ.get("STOA_PROBE_PORT") or str(PROBE_PORT), ports),
        edges=_listed(environ, "STOA_EDGE_ADDRESSES", IPv4Address),
        edge_sources=_listed(environ, "STOA_EDGE_SOURCES", IPv4Network),
        resolver=resolvers[0] if resolvers else None,
        published_at=_one(environ, "STOA_HOST_ADDRESS"),
        broker=_broker(environ),
        images=ImageAccess(
            auth_file=_path(environ, "STOA_REGISTRY_AUTH_FILE"),
            ca_dir=_path(environ, "STOA_REGISTRY_CA_DIR"),
            control_url=environ.get("STOA_CONTROL_URL", "").rstrip("/"),
            token_file=_path(environ, "STOA_AGENT_TOKEN_FILE"),
            control_ca=_path(environ, "STOA_CONTROL_CA"),
        ),
    )


def _probe_port(text: str, ports: range) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535 and int(text) not in ports:
        return int(text)
    raise SpecInvalidError(
        f"STOA_PROBE_PORT is {text!r}; it must be a port outside STOA_PORTS",
        field="STOA_PROBE_PORT",
    )


def _broker(environ: Mapping[str, str]) -> tuple[IPv4Address, int] | None:
    """Return the address at which other machines reach Redis; None if none may."""
    address, port = _one(environ, "STOA_POOL_ADDRESS"), environ.get("STOA_REDIS_PORT", "")
    if address is None or not port:
        return None
    if port.isdecimal() and 1 <= int(port) <= 65535:
        return address, int(port)
    raise SpecInvalidError(
        f"STOA_REDIS_PORT is {port!r}; it must be a port", field="STOA_REDIS_PORT"
    )


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    """A variable that holds a path; None when it is empty or not set."""
    value = environ.get(name, "")
    if value and not value.startswith("/"):
        raise SpecInvalidError(f"{name} is {value!r}; it must be an absolute path", field=name)
    return Path(value) if value else None


def _one(environ: Mapping[str, str], name: str) -> IPv4Address | None:
    """A variable that holds one address; None when it is empty or not set."""
    found = _listed(environ, name, IPv4Address)
    if len(found) > 1:
        raise SpecInvalidError(f"{name} must be one IPv4 address", field=name)
    return found[0] if found else None


def _listed(
    environ: Mapping[str, str], name: str, kind: Callable[[str], _Listed]
) -> tuple[_Listed, ...]:
    """A variable that holds values with commas between; () when it is empty or not set."""
    words = (word.strip() for word in environ.get(name, "").split(","))
    try:
        return tuple(kind(word) for word in words if word)
    except ValueError as error:
        raise SpecInvalidError(
            f"{name}: {error}; give IPv4 addresses with commas between", field=name
        ) from error
