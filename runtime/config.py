"""Settings of a host or edge, read from the environment once, at the edge of the program."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from zlib import crc32

from runtime.errors import SpecInvalidError
from settings import common, fit, hosts, inner
from settings.setting import SettingError

_PROBE_PORT = hosts.PROBE_PORT.of({})


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
    probe_port: int = _PROBE_PORT
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
    with as_invalid_spec():
        fit.host(environ)
        return HostConfig(
            name=hosts.HOST_NAME.of(environ),
            scope=common.SCOPE.of(environ),
            state_dir=inner.HOST_STATE.of(environ),
            subnet=hosts.SUBNET.of(environ),
            ports=hosts.PORTS.of(environ),
            probe_port=hosts.PROBE_PORT.of(environ),
            edges=hosts.EDGE_ADDRESSES.of(environ),
            edge_sources=hosts.EDGE_SOURCES.of(environ),
            resolver=hosts.RESOLVER.of(environ),
            published_at=inner.HOST_ADDRESS.of(environ),
            broker=_broker(environ),
            images=ImageAccess(
                auth_file=hosts.REGISTRY_AUTH_FILE.of(environ),
                ca_dir=hosts.REGISTRY_CA_DIR.of(environ),
                control_url=inner.CONTROL_URL.of(environ).rstrip("/"),
                token_file=inner.AGENT_TOKEN_FILE.of(environ),
                control_ca=inner.CONTROL_CA.of(environ),
            ),
        )


def _broker(environ: Mapping[str, str]) -> tuple[IPv4Address, int] | None:
    """Return the address at which other machines reach Redis; None if none may."""
    address = common.POOL_ADDRESS.of(environ)
    return (address, inner.REDIS_PORT.of(environ)) if address else None


@contextmanager
def as_invalid_spec() -> Iterator[None]:
    """Turn a setting that cannot be into the runtime's own error."""
    try:
        yield
    except SettingError as error:
        raise SpecInvalidError(str(error), field=error.name) from error
