"""Names and addresses of a host's network, worked out from its settings alone."""

from ipaddress import IPv4Address

from runtime.config import HostConfig
from runtime.errors import SpecInvalidError

HOST_MAC = bytes((0x02, 0x53, 0x54, 0x4F, 0x41, 0x01))
CONTAINER_INTERFACE = "eth0"


def address_for(config: HostConfig, published_port: int) -> IPv4Address:
    """Return the container address that belongs to a published port; the same after every reboot.

    Raises SpecInvalidError for a port outside config.ports or a subnet with too few addresses.
    """
    check_port(config, published_port)
    number = 256 + published_port - config.ports.start
    if number >= config.subnet.num_addresses - 1:
        raise SpecInvalidError(
            f"subnet {config.subnet} has no address for port {published_port};"
            f" use a larger STOA_SUBNET or fewer STOA_PORTS",
            field="subnet",
        )
    return config.subnet[number]


def check_port(config: HostConfig, published_port: int) -> int:
    """Return the port when it is one of this host's, else raise SpecInvalidError."""
    if published_port in config.ports:
        return published_port
    ports = config.ports
    raise SpecInvalidError(
        f"published_port is {published_port}; this host publishes {ports.start} to {ports.stop - 1}",
        field="published_port",
    )


def table_of(config: HostConfig) -> str:
    """Name of the one nftables table (family inet)."""
    return f"{config.scope}_{config.name}"


def holder_of(config: HostConfig) -> str:
    """Name of the interface that holds the host's address."""
    return f"{config.interface_prefix}host"


def veth_of(config: HostConfig, published_port: int) -> str:
    """Name of the host's end of the pair that belongs to a published port."""
    return f"{config.interface_prefix}{published_port:04x}"


def port_in(veth_suffix: str) -> int | None:
    """Return the published port in the part of an interface's name after the prefix; None for the
    holder's.
    """
    try:
        return int(veth_suffix, 16)
    except ValueError:
        return None


def mac_of(address: IPv4Address) -> bytes:
    """MAC address of a container: locally administered, made of its address."""
    return b"\x02\x53" + address.packed


def resolver_in(resolv_conf: str) -> IPv4Address | None:
    """Return the first name server that containers can be sent to: IPv4 and not on loopback."""
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = IPv4Address(words[1])
        except ValueError:
            continue
        if not address.is_loopback:
            return address
    return None
