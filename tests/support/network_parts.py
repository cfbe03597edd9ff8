"""A container's network piece by piece, which production sets up in one go; and what there is of it."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from runtime.config import HostConfig
from runtime.network import container, host, nfnetlink, plan, table
from runtime.network.netlink import Netlink
from runtime.network.rules import PUBLISHED


@dataclass(frozen=True, slots=True)
class Listing:
    """What exists of one host's network: interfaces, the table, and where published ports lead."""

    interfaces: tuple[str, ...]
    table: bool
    published: dict[int, tuple[IPv4Address, int]]

    @property
    def empty(self) -> bool:
        """Whether nothing at all is left."""
        return not (self.interfaces or self.table or self.published)


def listing(config: HostConfig) -> Listing:
    """What exists of this host's network now."""
    with Netlink() as route:
        interfaces = tuple(sorted(host._interfaces(config, route)))
    return Listing(interfaces, table.handle(config) is not None, table.published(config))


def attach(config: HostConfig, *, published_port: int, netns_pid: int) -> IPv4Address:
    """Connect the network namespace of a process to this host and return its address there.

    The container answers its host from now on, and may open nothing itself before `limit`.
    """
    with container.namespace_of(netns_pid) as theirs:
        return container._attach(config, published_port, theirs, 0)


def publish(config: HostConfig, *, published_port: int, container_port: int) -> None:
    """Lead the host's published port to the container's port; replaces what the port led to before."""
    address = plan.address_for(config, published_port)
    leading = nfnetlink.leading(PUBLISHED, published_port, address, container_port)
    table.put(config, [leading], outbound=None)


def unpublish(config: HostConfig, published_port: int) -> None:
    """Lead the published port nowhere; calm when it already does, or when the table is gone."""
    address = plan.address_for(config, published_port)
    table.take(config, [nfnetlink.leading(PUBLISHED, published_port, address, 0)])
