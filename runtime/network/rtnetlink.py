"""Messages for links, addresses, routes and neighbours, built by pure functions.

Constants are those of linux/rtnetlink.h, if_link.h and neighbour.h.
"""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from runtime.network.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    attribute,
    attributes,
    nested,
    text,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWNEIGH = 20, 24, 25, 26, 28

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 10, 18
IFLA_OPERSTATE, IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_EXT_MASK = 16, 26, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INET_CONF = 1
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFF_UP, IFF_NOARP = 1, 0x80
IF_OPER_UP = 6
ACCEPT_REDIRECTS, RP_FILTER, ACCEPT_SOURCE_ROUTE = 4, 8, 9

IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RTN_UNREACHABLE = 254, 4, 1, 7
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTNH_F_ONLINK = 4
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")

_CREATE = NLM_F_ACK | NLM_F_CREATE
_PUT = _CREATE | NLM_F_REPLACE


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel lists it; operational: it can really send.

    master: the number of the bridge or bond it was given to, 0 for none.
    """

    index: int
    name: str
    up: bool
    operational: bool = False
    master: int = 0
    mac: bytes = b""


def new_holder(name: str) -> Message:
    """Make an interface that only holds an address; it is down until link_up.

    It is a bridge that never gets a port: every kernel that runs containers has bridges, while the dummy
    driver is missing in some.
    """
    info = nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))
    body = _link() + text(IFLA_IFNAME, name) + info
    return Message(RTM_NEWLINK, _CREATE | NLM_F_EXCL, body, f"create interface {name}")


def new_veth(host_end: str, host_mac: bytes, peer: str, peer_mac: bytes, netns_fd: int) -> Message:
    """Make a veth pair, both ends down, its peer already inside the namespace of netns_fd."""
    # By itself the kernel makes a queue for each processor, of which one is used.
    single = struct.pack("=I", 1)
    queues = attribute(IFLA_NUM_TX_QUEUES, single) + attribute(IFLA_NUM_RX_QUEUES, single)
    other = b"".join(
        (
            _link(),
            text(IFLA_IFNAME, peer),
            attribute(IFLA_ADDRESS, peer_mac),
            queues,
            attribute(IFLA_NET_NS_FD, struct.pack("=I", netns_fd)),
        )
    )
    info = nested(
        IFLA_LINKINFO,
        text(IFLA_INFO_KIND, "veth"),
        nested(IFLA_INFO_DATA, nested(VETH_INFO_PEER, other)),
    )
    mac = attribute(IFLA_ADDRESS, host_mac)
    body = b"".join((_link(), text(IFLA_IFNAME, host_end), mac, queues, info))
    return Message(RTM_NEWLINK, _CREATE | NLM_F_EXCL, body, f"create veth {host_end}")


def link_up(index: int) -> Message:
    """Set an interface up."""
    body = _link(index, flags=IFF_UP)
    return Message(RTM_NEWLINK, NLM_F_ACK, body, f"set interface {index} up")


def wary_link_up(index: int) -> Message:
    """Set an interface up whose other end is not to be trusted.

    It neither asks nor answers by ARP and believes no redirect. It refuses source-routed packets, and
    packets from addresses that are not routed to this interface.
    """
    settings = ((ACCEPT_REDIRECTS, 0), (ACCEPT_SOURCE_ROUTE, 0), (RP_FILTER, 1))
    conf = (attribute(kind, struct.pack("=I", value)) for kind, value in settings)
    body = b"".join(
        (
            _link(index, flags=IFF_UP | IFF_NOARP),
            nested(IFLA_AF_SPEC, nested(socket.AF_INET, nested(IFLA_INET_CONF, *conf))),
        )
    )
    return Message(RTM_NEWLINK, NLM_F_ACK, body, f"set interface {index} up")


def delete_link(name: str) -> Message:
    """Delete an interface (its peer goes with it)."""
    return Message(RTM_DELLINK, NLM_F_ACK, _link() + text(IFLA_IFNAME, name), f"delete {name}")


def get_link(name: str) -> Message:
    """Ask for one interface by name."""
    return Message(RTM_GETLINK, 0, _link() + text(IFLA_IFNAME, name), f"look up {name}")


def list_links() -> Message:
    """Ask for all interfaces."""
    # RTEXT_FILTER_SKIP_STATS: counters of 1,000 links would triple the answer.
    body = _link() + attribute(IFLA_EXT_MASK, struct.pack("=I", 8))
    return Message(RTM_GETLINK, NLM_F_DUMP, body, "list interfaces")


def get_link_by_index(index: int) -> Message:
    """Ask for one interface by number."""
    return Message(RTM_GETLINK, 0, _link(index), f"look up interface {index}")


def parse_link(body: bytes) -> Link:
    """Read one RTM_NEWLINK answer."""
    _family, _type, index, flags, _change = _LINK.unpack_from(body)
    name, operational, master, mac = "", False, 0, b""
    for kind, payload in attributes(body[_LINK.size :]):
        if kind == IFLA_IFNAME:
            name = payload.rstrip(b"\0").decode()
        elif kind == IFLA_MASTER:
            master = int.from_bytes(payload[:4], "little")
        elif kind == IFLA_OPERSTATE:
            operational = payload[0] == IF_OPER_UP
        elif kind == IFLA_ADDRESS:
            mac = bytes(payload)
            break  # all that comes after is of no interest, and it is much
    return Link(index, name, bool(flags & IFF_UP), operational, master, mac)


def make_own(index: int, mac: bytes) -> Message:
    """Take an interface out of whatever bridge or bond it was given to, and give it its own MAC."""
    none = attribute(IFLA_MASTER, struct.pack("=I", 0))
    body = _link(index) + none + attribute(IFLA_ADDRESS, mac)
    return Message(RTM_NEWLINK, NLM_F_ACK, body, f"take interface {index} back")


def put_address(index: int, address: IPv4Address) -> Message:
    """Give an interface a /32 address; no-op if it has it."""
    body = b"".join(
        (
            _ADDRESS.pack(socket.AF_INET, 32, 0, RT_SCOPE_UNIVERSE, index),
            attribute(IFA_LOCAL, address.packed),
            attribute(IFA_ADDRESS, address.packed),
        )
    )
    return Message(RTM_NEWADDR, _PUT, body, f"give interface {index} the address {address}")


def put_link_route(index: int, to: IPv4Address, source: IPv4Address) -> Message:
    """Route one address straight to an interface, with the source address to prefer."""
    body = b"".join(
        (
            _route(32, RT_SCOPE_LINK),
            attribute(RTA_DST, to.packed),
            attribute(RTA_PREFSRC, source.packed),
            attribute(RTA_OIF, struct.pack("=i", index)),
        )
    )
    return Message(RTM_NEWROUTE, _PUT, body, f"route {to} to interface {index}")


def put_unreachable(network: IPv4Network, metric: int) -> Message:
    """Refuse what is sent to addresses of a network that have no route of their own."""
    return Message(RTM_NEWROUTE, _PUT, _unreachable(network, metric), f"close {network}")


def drop_unreachable(network: IPv4Network, metric: int) -> Message:
    """Undo `put_unreachable`."""
    return Message(RTM_DELROUTE, NLM_F_ACK, _unreachable(network, metric), f"open {network}")


def get_route(to: IPv4Address) -> Message:
    """Ask which way a packet to an address would go."""
    head = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    return Message(RTM_GETROUTE, 0, head + attribute(RTA_DST, to.packed), f"look up {to}")


def parse_route(body: bytes) -> int:
    """Return the number of the interface in one RTM_NEWROUTE answer, 0 for none."""
    for kind, payload in attributes(body[_ROUTE.size :]):
        if kind == RTA_OIF:
            return int.from_bytes(payload[:4], "little")
    return 0


def put_default_route(index: int, gateway: IPv4Address) -> Message:
    """Send everything to a gateway that is on the link although no prefix says so."""
    body = b"".join(
        (
            _route(0, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK),
            attribute(RTA_GATEWAY, gateway.packed),
            attribute(RTA_OIF, struct.pack("=i", index)),
        )
    )
    return Message(RTM_NEWROUTE, _PUT, body, f"route everything to {gateway}")


def put_neighbour(index: int, address: IPv4Address, mac: bytes) -> Message:
    """Fix who answers for an address, so that nobody ever has to ask by ARP."""
    body = b"".join(
        (
            _NEIGHBOUR.pack(socket.AF_INET, index, NUD_PERMANENT, 0, 0),
            attribute(NDA_DST, address.packed),
            attribute(NDA_LLADDR, mac),
        )
    )
    return Message(RTM_NEWNEIGH, _PUT, body, f"fix {address} as a neighbour of interface {index}")


def _link(index: int = 0, *, flags: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _unreachable(network: IPv4Network, metric: int) -> bytes:
    head = _ROUTE.pack(
        socket.AF_INET, network.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC,
        RT_SCOPE_UNIVERSE, RTN_UNREACHABLE, 0,
    )  # fmt: skip
    to = attribute(RTA_DST, network.network_address.packed)
    return head + to + attribute(RTA_PRIORITY, struct.pack("=I", metric))


def _route(prefix: int, scope: int, flags: int = 0) -> bytes:
    return _ROUTE.pack(
        socket.AF_INET, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, flags
    )
