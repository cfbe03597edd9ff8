"""One container's network: its veth pair, its routes, its limits, and the port that leads to it."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from runtime.config import HostConfig
from runtime.errors import HostError
from runtime.network import nfnetlink, plan, rtnetlink, shaping, table
from runtime.network.host import switch_ipv6_off
from runtime.network.netlink import Message, Netlink, NetlinkError
from runtime.network.nfnetlink import Element
from runtime.network.rules import CLASSES, PUBLISHED, OutboundClass
from runtime.system.syscalls import CLONE_NEWNET, setns
from runtime.units import Limits

_LOOPBACK_INDEX = 1
_OPERATIONAL_SECONDS = 0.5
_FIRST_PAUSE_SECONDS = 0.0002


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a host has to know of an instance to connect it."""

    published_port: int
    container_port: int
    ceilings: Limits
    internet: bool = True


def connect(config: HostConfig, endpoint: Endpoint, *, netns_fd: int) -> IPv4Address:
    """Attach, limit and publish in as few messages as there can be; returns the container's address.

    netns_fd: the network namespace to connect. Replaces what an earlier start left. Raises HostError.
    """
    ceilings = endpoint.ceilings
    address = _attach(config, endpoint.published_port, netns_fd, ceilings.egress_bytes_per_second)
    outbound = OutboundClass.of(ceilings, internet=endpoint.internet)
    table.put(config, elements_of(config, endpoint), outbound=outbound)
    return address


def put_back(config: HostConfig, endpoint: Endpoint, *, netns_fd: int) -> None:
    """Set up again everything of a veth pair that is there, and what the table has of it."""
    address = plan.address_for(config, endpoint.published_port)
    host_end = plan.veth_of(config, endpoint.published_port)
    with Netlink() as route:
        _make_own(route, host_end, plan.HOST_MAC)
        _set_up_outside(route, config, endpoint.published_port, address)
        with inside(netns_fd):
            with Netlink() as theirs:
                _make_own(theirs, plan.CONTAINER_INTERFACE, plan.mac_of(address))
            _set_up_inside(address, config.address, endpoint.ceilings.egress_bytes_per_second)
    outbound = OutboundClass.of(endpoint.ceilings, internet=endpoint.internet)
    table.put(config, elements_of(config, endpoint), outbound=outbound)


def withdraw(config: HostConfig, published_port: int) -> None:
    """Take out of the table what it holds of a container that has ended; no-op if there is nothing.

    The veth pair goes by itself, with the container's network namespace. Taking it away, as `disconnect`
    does, would make the caller wait twice as long for the kernel.
    """
    address = plan.address_for(config, published_port)
    table.take(
        config,
        [
            nfnetlink.leading(PUBLISHED, published_port, address, 0),
            nfnetlink.judged(CLASSES, address, None),
        ],
    )


def disconnect(config: HostConfig, published_port: int) -> None:
    """Undo `connect`, so that nothing is left; no-op if there is nothing."""
    withdraw(config, published_port)
    detach(config, published_port)


def detach(config: HostConfig, published_port: int) -> None:
    """Remove the veth pair of a published port; no-op if there is none."""
    with Netlink() as route:
        route.send(
            [rtnetlink.delete_link(plan.veth_of(config, published_port))],
            fine=frozenset({errno.ENODEV}),
        )


def limit(
    config: HostConfig,
    *,
    published_port: int,
    ceilings: Limits,
    internet: bool,
    netns_pid: int,
) -> None:
    """Set what a container may send and open, at its start or while it runs; nothing is interrupted.

    netns_pid: a process inside. Takes effect for the next packet; connections that were opened under
    other limits go on and are not counted, but with internet=False nothing leaves but answers. Raises
    HostError.
    """
    address = plan.address_for(config, published_port)
    outbound = OutboundClass.of(ceilings, internet=internet)
    table.put(config, [_class_element(address, outbound)], outbound=outbound)
    with namespace_of(netns_pid) as theirs, inside(theirs), Netlink() as route:
        index = socket.if_nametoindex(plan.CONTAINER_INTERFACE)
        if ceilings.egress_bytes_per_second:
            route.send([shaping.put_limit(index, ceilings.egress_bytes_per_second)])
        else:
            # EINVAL: the kernel's own queue, which cannot be taken away.
            gone = frozenset({errno.ENOENT, errno.EINVAL})
            route.send([shaping.drop_limit(index)], fine=gone)


def elements_of(config: HostConfig, endpoint: Endpoint) -> tuple[Element, Element]:
    """Return what the table has to hold of an endpoint: its class, and where its port leads."""
    port = endpoint.published_port
    address = plan.address_for(config, port)
    outbound = OutboundClass.of(endpoint.ceilings, internet=endpoint.internet)
    leading = nfnetlink.leading(PUBLISHED, port, address, endpoint.container_port)
    return _class_element(address, outbound), leading


def _class_element(address: IPv4Address, outbound: OutboundClass | None) -> Element:
    return nfnetlink.judged(CLASSES, address, outbound.chain if outbound else None)


def _attach(
    config: HostConfig, published_port: int, netns_fd: int, egress_bytes_per_second: int
) -> IPv4Address:
    address = plan.address_for(config, published_port)
    host_end = plan.veth_of(config, published_port)
    pair = rtnetlink.new_veth(
        host_end, plan.HOST_MAC, plan.CONTAINER_INTERFACE, plan.mac_of(address), netns_fd
    )
    with Netlink() as route:
        _create(route, pair, host_end)
        index = _set_up_outside(route, config, published_port, address)
        with inside(netns_fd):
            _set_up_inside(address, config.address, egress_bytes_per_second)
        _await_operational(route, index)
    return address


def _make_own(route: Netlink, interface: str, mac: bytes) -> None:
    """Take an interface out of any bridge or bond and restore its MAC. Sends nothing if all is well."""
    found = route.ask(rtnetlink.get_link(interface))
    link = rtnetlink.parse_link(found[0][1]) if found else None
    if link and (link.master or link.mac != mac):
        route.send([rtnetlink.make_own(link.index, mac)])


def _set_up_outside(
    route: Netlink, config: HostConfig, published_port: int, address: IPv4Address
) -> int:
    """Everything the host's end needs; the number of its interface."""
    host_end = plan.veth_of(config, published_port)
    index = socket.if_nametoindex(host_end)
    switch_ipv6_off(host_end)
    route.send(
        [
            rtnetlink.wary_link_up(index),
            rtnetlink.put_link_route(index, address, config.address),
            rtnetlink.put_neighbour(index, address, plan.mac_of(address)),
        ]
    )
    return index


def _create(route: Netlink, pair: Message, host_end: str) -> None:
    try:
        route.send([pair])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        route.send([rtnetlink.delete_link(host_end)], fine=frozenset({errno.ENODEV}))
        route.send([pair])


def _set_up_inside(
    address: IPv4Address, gateway: IPv4Address, egress_bytes_per_second: int
) -> None:
    """Everything the container's own end needs, done from inside its namespace."""
    switch_ipv6_off("all")
    index = socket.if_nametoindex(plan.CONTAINER_INTERFACE)
    ceiling = []
    if egress_bytes_per_second:
        ceiling = [shaping.put_limit(index, egress_bytes_per_second)]
    with Netlink() as route:
        route.send(
            [
                *ceiling,
                rtnetlink.link_up(_LOOPBACK_INDEX),
                rtnetlink.link_up(index),
                rtnetlink.put_address(index, address),
                rtnetlink.put_neighbour(index, gateway, plan.HOST_MAC),
                rtnetlink.put_default_route(index, gateway),
            ]
        )


def _await_operational(route: Netlink, index: int) -> None:
    """Return once the host's end can really send.

    The end that was set up first learns of its peer from the kernel's link watch, which runs later. It
    drops every packet until then, and TCP tries again only after a whole second. Since Linux 6.8 the
    question itself makes the link watch run, so that one is enough; before, it takes some milliseconds.
    """
    deadline = time.monotonic() + _OPERATIONAL_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while True:
        found = route.ask(rtnetlink.get_link_by_index(index))
        if not found or rtnetlink.parse_link(found[0][1]).operational:
            return
        if time.monotonic() > deadline:
            return  # the first packet may be late, which is no reason to give up a start
        time.sleep(pause)
        pause *= 2


@contextmanager
def namespace_of(pid: int) -> Iterator[int]:
    """A descriptor of the network namespace a process is in."""
    try:
        theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"process {pid} has no network namespace: {error.strerror}") from error
    try:
        yield theirs
    finally:
        os.close(theirs)


@contextmanager
def inside(netns_fd: int) -> Iterator[None]:
    """Move the calling thread into a network namespace and back."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns_fd, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(ours, CLONE_NEWNET)
    finally:
        os.close(ours)
