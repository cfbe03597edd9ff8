"""Brings back the network of a container that runs, where somebody took some of it away."""

import errno
import fcntl
import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

from runtime.config import HostConfig
from runtime.network import container, plan, rtnetlink
from runtime.network.container import Endpoint
from runtime.network.netlink import Netlink, NetlinkError

_SIOCGIFADDR = 0x8915
# Of the namespace the thread is in; a line with destination and mask 0 is a default route.
_ROUTES = Path("/proc/thread-self/net/route")
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV, errno.EINVAL})


def replug(config: HostConfig, endpoint: Endpoint, *, netns_pid: int) -> tuple[str, ...]:
    """Put back what is missing of a running container's connection; what was, () when all was well.

    netns_pid: a process inside. Connections that are open survive. Enters the container's network
    namespace: for a process with one thread that ends afterwards. Raises HostError.
    """
    address = plan.address_for(config, endpoint.published_port)
    host_end = plan.veth_of(config, endpoint.published_port)
    with container.namespace_of(netns_pid) as theirs:
        with Netlink() as route:
            outside = _wrong_outside(route, host_end, address)
        with container.inside(theirs):
            within = _wrong_inside(address)
        if "its interface was gone" in (*outside, *within):
            container.connect(config, endpoint, netns_fd=theirs)
            return ("its interface was gone",)
        container.put_back(config, endpoint, netns_fd=theirs)
    return (*outside, *within)


def _wrong_outside(route: Netlink, host_end: str, address: IPv4Address) -> tuple[str, ...]:
    found = route.ask(rtnetlink.get_link(host_end))
    if not found:
        return ("its interface was gone",)
    link = rtnetlink.parse_link(found[0][1])
    if not link.up:
        return ("its interface was down",)
    if link.master:
        return ("its interface was made a port of another one",)
    if link.mac != plan.HOST_MAC:
        return ("its interface had another address",)
    try:
        ways = route.ask(rtnetlink.get_route(address))
    except NetlinkError as error:
        if error.errno not in _NO_WAY:
            raise
        ways = []
    if not ways or rtnetlink.parse_route(ways[0][1]) != link.index:
        return ("no route led to it",)
    return ()


def _wrong_inside(address: IPv4Address) -> tuple[str, ...]:
    with Netlink() as route:
        found = route.ask(rtnetlink.get_link(plan.CONTAINER_INTERFACE))
    if not found:
        return ("its interface was gone",)
    link = rtnetlink.parse_link(found[0][1])
    if not link.up:
        return ("its own end was down",)
    if link.mac != plan.mac_of(address):
        return ("its own end had another address",)
    if _address_of(plan.CONTAINER_INTERFACE) != address:
        return ("its address was gone",)
    lines = (line.split() for line in _ROUTES.read_text().splitlines()[1:])
    if not any(line[1] == line[7] == "00000000" for line in lines):
        return ("its default route was gone",)
    return ()


def _address_of(interface: str) -> IPv4Address | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("16s24x", interface.encode()))
        except OSError:
            return None
    return IPv4Address(answer[20:24])
