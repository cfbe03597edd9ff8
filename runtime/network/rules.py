"""The rule set of a host's network in nft's language, worked out from its settings alone.

Each packet meets the same few rules however many tenants there are: what differs between tenants is an
element of a map (`published`, `classes`). Only a class (a pair of limits) brings rules of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from zlib import crc32

from runtime.config import HostConfig
from runtime.units import Limits

PUBLISHED = "published"
CLASSES = "classes"

# What a tenant may open to the outside when his plan does not say.
NEW_CONNECTIONS_PER_SECOND = 200
OPEN_CONNECTIONS = 2048
# What visitors may open to one shop. Generous: it only keeps one shop from using up the host's table of
# connections, which all share; the edge has limits of its own.
VISITS_PER_SECOND = 2000
OPEN_VISITS = 4096
_LARGEST = 1_000_000
# What one machine may have open to the broker. A host's agents need about ten; several may share an address.
OPEN_TO_BROKER = 200

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
_CLASS_PREFIX = "out_"


@dataclass(frozen=True, slots=True)
class OutboundClass:
    """Tenants that may open equally many connections share a class: four rules and two sets."""

    connections: int
    per_second: int

    @classmethod
    def of(cls, ceilings: Limits, *, internet: bool) -> "OutboundClass | None":
        """Return the class that limits mean; None for an instance that may open nothing to the outside."""
        if not internet:
            return None
        return cls(
            min(ceilings.connections or OPEN_CONNECTIONS, _LARGEST),
            min(ceilings.new_connections_per_second or NEW_CONNECTIONS_PER_SECOND, _LARGEST),
        )

    @classmethod
    def named(cls, chain: str) -> "OutboundClass | None":
        """Return the class a chain belongs to; None for a chain of another kind."""
        connections, _, per_second = chain.removeprefix(_CLASS_PREFIX).partition("_")
        if not chain.startswith(_CLASS_PREFIX) or not (connections + per_second).isdigit():
            return None
        return cls(int(connections), int(per_second))

    @property
    def chain(self) -> str:
        """Name of the chain that an address of this class is led to."""
        return f"{_CLASS_PREFIX}{self.connections}_{self.per_second}"

    @property
    def sets(self) -> tuple[str, str]:
        """Names of the sets that count: connections open, connections begun."""
        return (f"open_{self.chain}", f"begun_{self.chain}")


def rules(config: HostConfig, resolver: IPv4Address | None) -> str:
    """Return the table's content without classes and without the chain that names its version.

    Packets of other interfaces leave each chain at its first rule, so that other programs' traffic is
    untouched. Published ports have been led into their containers by then. A packet that is still addressed
    to a shop's port at the host's own address is for a shop that is down. It is refused: a program that
    listens at every address of the host, the edge itself for one, would answer in its place.
    """
    tenant = f'"{config.interface_prefix}*"'
    here = config.address
    places = ", ".join(map(str, dict.fromkeys((here, config.edge_address))))
    private = ", ".join(_without_overlap((*_PRIVATE, str(config.subnet))))
    edges = _elements(map(str, sorted(set(config.edges))))
    sources = _elements(_without_overlap(map(str, (*config.edge_sources, *config.edges))))
    ports = f"{config.ports.start}-{config.ports.stop - 1}"
    refused = f"ct state new tcp dport {ports} reject with tcp reset"
    passed_on, questions = "", ""
    if resolver is not None:
        to_resolver = f"ct original ip daddr {here} ip daddr {resolver}"
        questions = f"{to_resolver} meta l4proto {{ tcp, udp }} th dport 53 accept"
    if resolver not in {None, here}:
        passed_on = (
            f"iifname {tenant} ip daddr {here} meta l4proto {{ tcp, udp }} th dport 53"
            f" dnat ip to {resolver}"
        )
    return f"""
  ct timeout brief_tcp {{
    protocol tcp; l3proto ip;
    policy = {{ established : 7440, syn_sent : 20, syn_recv : 20, fin_wait : 20, last_ack : 10,\
 time_wait : 10, close : 5 }};
  }}
  ct timeout brief_udp {{ protocol udp; l3proto ip; policy = {{ unreplied : 10, replied : 60 }};
  }}
  map {PUBLISHED} {{ type inet_service : ipv4_addr . inet_service; }}
  map {CLASSES} {{ type ipv4_addr : verdict; }}
  set private {{ type ipv4_addr; flags interval; elements = {{ {private} }}; }}
  set edges {{ type ipv4_addr; {edges} }}
  set edge_sources {{ type ipv4_addr; flags interval; {sources} }}
  set open_visits {{ type ipv4_addr; size 65535; flags dynamic; }}
  set begun_visits {{ type ipv4_addr; size 65535; flags dynamic, timeout; timeout 1m; }}

{_broker(config)}
  chain early {{
    type filter hook prerouting priority -450; policy accept;
    iifname != {tenant} accept
    meta nfproto != ipv4 drop
    ip frag-off & 0x3fff != 0 drop
  }}
  chain spoofed {{
    type filter hook prerouting priority raw; policy accept;
    iifname != {tenant} accept
    ip hdrlength > 5 drop
    meta l4proto != {{ tcp, udp, icmp }} drop
    icmp type {{ redirect, router-advertisement, router-solicitation }} drop
    fib saddr . iif oif missing drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {passed_on}
    iifname != {tenant} ip daddr {{ {places} }} ip saddr @edge_sources meta l4proto tcp dnat ip to\
 tcp dport map @{PUBLISHED}
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr {{ {places} }} meta l4proto tcp dnat ip to tcp dport map @{PUBLISHED}
  }}
  chain nobody {{
    type filter hook output priority filter; policy accept;
    ip daddr {here} {refused}
  }}
  chain visits {{
    type filter hook postrouting priority filter; policy accept;
    oifname != {tenant} accept
    ct state != new accept
    meta l4proto tcp ct timeout set "brief_tcp"
    update @begun_visits {{ ip daddr limit rate over {VISITS_PER_SECOND}/second\
 burst {2 * VISITS_PER_SECOND} packets }} drop
    add @open_visits {{ ip daddr ct count over {OPEN_VISITS} }} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {config.subnet} ip saddr != {here} oifname != {tenant} masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname {tenant} jump from_tenant
    ip daddr {here} ip saddr @edge_sources {refused}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname {tenant} jump from_tenant
    oifname {tenant} jump to_tenant
  }}
  chain from_tenant {{
    oifname {tenant} drop
    ct state invalid drop
    ct direction reply ct state established,related accept
    ip saddr vmap @{CLASSES}
    drop
  }}
  chain outside {{
    meta l4proto tcp ct timeout set "brief_tcp"
    meta l4proto udp ct timeout set "brief_udp"
    {questions}
    ip daddr @edges tcp dport {{ 80, 443 }} accept
    ip daddr @edges drop
    ip daddr @private drop
    fib daddr type != unicast drop
    tcp dport 25 drop
    icmp type != echo-request drop
    accept
  }}
  chain to_tenant {{
    ct state established,related accept
    ct status dnat ct original ip daddr {{ {places} }} accept
    drop
  }}
"""  # noqa: S608 - nft's language, not SQL


def _broker(config: HostConfig) -> str:
    """Return the rules that count connections to the broker by source: holding one needs no password."""
    if config.broker is None:
        return ""
    address, port = config.broker
    return f"""
  set open_to_broker {{ type ipv4_addr; size 65535; flags dynamic; }}
  chain to_broker {{
    type filter hook input priority filter; policy accept;
    iif lo accept
    ip daddr != {address} accept
    tcp dport != {port} accept
    ct state != new accept
    add @open_to_broker {{ ip saddr ct count over {OPEN_TO_BROKER} }} reject with tcp reset
  }}"""


def class_rules(outbound: OutboundClass) -> str:
    """Return what a class adds to the table: how many connections are begun and open, by address."""
    open_set, begun_set = outbound.sets
    return f"""
  set {open_set} {{ type ipv4_addr; size 65535; flags dynamic; }}
  set {begun_set} {{ type ipv4_addr; size 65535; flags dynamic, timeout; timeout 1m; }}
  chain {outbound.chain} {{
    ct state established,related accept
    update @{begun_set} {{ ip saddr limit rate over {outbound.per_second}/second\
 burst {2 * outbound.per_second} packets }} drop
    add @{open_set} {{ ip saddr ct count over {outbound.connections} }} drop
    goto outside
  }}
"""


def version_of(content: str) -> str:
    """Name of a chain that says which rules a table holds, so that one look-up tells.

    No packet ever gets there. It has a rule, so that it shows when somebody empties every chain.
    """
    return f"version_{crc32((content + class_rules(OutboundClass(1, 1))).encode()):08x}"


def table_script(
    table: str, content: str, chains: Iterable[str] = (), sets: Iterable[str] = ()
) -> str:
    """Return the whole change in nft's language: one transaction that keeps what the maps hold.

    chains, sets: what the table has now. Classes that are there get their rules anew, and so do sets.
    """
    classes = [found for name in chains if (found := OutboundClass.named(name))]
    counting = {name for outbound in classes for name in outbound.sets}
    lines = [f"table inet {table} {{ }}", f"flush table inet {table}"]
    lines += [
        f"delete chain inet {table} {chain}" for chain in chains if chain.startswith("version_")
    ]
    # `flush table` empties the chains but not the sets, whose content or meaning may have changed.
    lines += [
        f"delete set inet {table} {name}"
        for name in sets
        if name not in counting and name not in {PUBLISHED, CLASSES}
    ]
    own = "".join(class_rules(outbound) for outbound in classes)
    version = f"  chain {version_of(content)} {{ accept; }}\n"
    return "\n".join([*lines, f"table inet {table} {{{content}{own}{version}}}"]) + "\n"


def class_script(table: str, outbound: OutboundClass) -> str:
    """Add a class to a table; to be run only when it is not there."""
    return f"table inet {table} {{{class_rules(outbound)}}}\n"


def class_removal(table: str, outbound: OutboundClass) -> str:
    """Take a class out of a table; the kernel refuses it all while an address is led to it."""
    lines = [
        f"flush chain inet {table} {outbound.chain}",
        f"delete chain inet {table} {outbound.chain}",
    ]
    return (
        "\n".join([*lines, *(f"delete set inet {table} {name}" for name in outbound.sets)]) + "\n"
    )


def _elements(values: Iterable[str]) -> str:
    listed = ", ".join(values)
    return f"elements = {{ {listed} }};" if listed else ""


def _without_overlap(networks: Iterable[str]) -> Sequence[str]:
    """Drop networks inside another one: nft refuses overlapping intervals."""
    return [str(network) for network in collapse_addresses(map(IPv4Network, networks))]
