"""Names, addresses and the rule set of a host's network, worked out from its settings alone."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from zlib import crc32

from runtime.config import HostConfig
from runtime.errors import SpecInvalidError

PUBLISHED = "published"
HOST_MAC = bytes((0x02, 0x53, 0x54, 0x4F, 0x41, 0x01))
CONTAINER_INTERFACE = "eth0"
NEW_CONNECTIONS_PER_SECOND = 200
OPEN_CONNECTIONS = 2048

# Where a tenant has no business: this host's neighbours, other tenants, and the metadata services of clouds.
_PRIVATE = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)


def address_for(config: HostConfig, published_port: int) -> IPv4Address:
    """The container address that belongs to a published port; the same after every reboot.

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
    """The published port in the part of an interface's name after the prefix; None for the holder's."""
    try:
        return int(veth_suffix, 16)
    except ValueError:
        return None


def mac_of(address: IPv4Address) -> bytes:
    """MAC address of a container: locally administered, made of its address."""
    return b"\x02\x53" + address.packed


def rules(config: HostConfig, resolver: IPv4Address | None) -> str:
    """The table's content in nft's language, without the chain that names its version.

    One map and a handful of rules whatever the number of tenants. Packets of other interfaces leave
    each chain at its first rule, so that other programs' traffic is untouched.
    """
    tenant = f'"{config.interface_prefix}*"'
    here = config.address
    private = ", ".join(_without_overlap((*_PRIVATE, str(config.subnet))))
    dns = ""
    if resolver is not None:
        dns = f"""
    iifname {tenant} ip daddr {here} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}"""
    return f"""
  map {PUBLISHED} {{ type inet_service : ipv4_addr . inet_service; }}
  set private {{ type ipv4_addr; flags interval; elements = {{ {private} }}; }}
  set open_connections {{ type ipv4_addr; size 65535; flags dynamic; }}
  set new_connections {{ type ipv4_addr; size 65535; flags dynamic, timeout; timeout 1m; }}

  chain spoofed {{
    type filter hook prerouting priority raw; policy accept;
    iifname != {tenant} accept
    meta nfproto ipv6 drop
    fib saddr . iif oif missing drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;{dns}
    iifname != {tenant} ip daddr {here} meta l4proto tcp dnat ip to tcp dport map @{PUBLISHED}
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr {here} meta l4proto tcp dnat ip to tcp dport map @{PUBLISHED}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {config.subnet} ip saddr != {here} oifname != {tenant} masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != {tenant} accept
    ct state established,related accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname {tenant} jump from_tenant
    oifname {tenant} jump to_tenant
  }}
  chain from_tenant {{
    oifname {tenant} drop
    meta nfproto ipv6 drop
    ct state established,related accept
    add @open_connections {{ ip saddr ct count over {OPEN_CONNECTIONS} }} drop
    update @new_connections {{ ip saddr limit rate over {NEW_CONNECTIONS_PER_SECOND}/second burst \
{2 * NEW_CONNECTIONS_PER_SECOND} packets }} drop
    ct original ip daddr {here} th dport 53 ct status dnat accept
    ip daddr @private drop
    tcp dport 25 drop
    accept
  }}
  chain to_tenant {{
    ct state established,related accept
    ct status dnat ct original ip daddr {here} accept
    drop
  }}
"""


def version_of(content: str) -> str:
    """Name of an empty chain that says which rules a table holds, so that one look-up tells."""
    return f"version_{crc32(content.encode()):08x}"


def script(table: str, content: str, stale_versions: Sequence[str]) -> str:
    """The whole change in nft's language: one transaction that keeps the map's elements."""
    # `flush table` empties the chains but not the maps; sets whose meaning may change are made anew.
    lines = [f"table inet {table} {{{content}}}", f"flush table inet {table}"]
    lines += [f"delete chain inet {table} {name}" for name in stale_versions]
    lines += [f"table inet {table} {{{content}  chain {version_of(content)} {{ }}\n}}"]
    return "\n".join(lines) + "\n"


def resolver_in(resolv_conf: str) -> IPv4Address | None:
    """The first name server that containers can be sent to: IPv4 and not on loopback."""
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


def _without_overlap(networks: Sequence[str]) -> list[str]:
    """Drop networks inside another one: nft refuses overlapping intervals."""
    return [str(network) for network in collapse_addresses(map(IPv4Network, networks))]
