"""One container's network: its veth pair, its routes, and the port that leads to it."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from runtime.config import HostConfig
from runtime.errors import HostError
from runtime.network import nfnetlink, plan, rtnetlink
from runtime.network.host import switch_ipv6_off
from runtime.network.netlink import NETLINK_NETFILTER, Message, Netlink, NetlinkError
from runtime.syscalls import CLONE_NEWNET, setns

_LOOPBACK_INDEX = 1


def attach(config: HostConfig, *, published_port: int, netns_pid: int) -> IPv4Address:
    """Connect the network namespace of a process to this host and return its address there.

    Replaces what an earlier, broken attempt left under the same port. The calling thread visits the
    other namespace for a moment. Raises HostError.
    """
    address = plan.address_for(config, published_port)
    host_end = plan.veth_of(config, published_port)
    try:
        theirs = os.open(f"/proc/{netns_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"process {netns_pid} has no network namespace: {error.strerror}"
        ) from error
    try:
        pair = rtnetlink.new_veth(
            host_end, plan.HOST_MAC, plan.CONTAINER_INTERFACE, plan.mac_of(address), theirs
        )
        with Netlink() as route:
            _create(route, pair, host_end)
            index = socket.if_nametoindex(host_end)
            switch_ipv6_off(host_end)
            route.send(
                [
                    rtnetlink.link_up(index),
                    rtnetlink.put_link_route(index, address, config.address),
                    rtnetlink.put_neighbour(index, address, plan.mac_of(address)),
                ]
            )
        with _inside(theirs):
            _set_up_inside(address, config.address)
    finally:
        os.close(theirs)
    return address


def detach(config: HostConfig, published_port: int) -> None:
    """Remove the veth pair of a published port; calm when there is none."""
    with Netlink() as route:
        route.send(
            [rtnetlink.delete_link(plan.veth_of(config, published_port))],
            fine=frozenset({errno.ENODEV}),
        )


def publish(config: HostConfig, *, published_port: int, container_port: int) -> None:
    """Lead the host's published port to the container's port; replaces what the port led to before."""
    address = plan.address_for(config, published_port)
    table = plan.table_of(config)
    add = nfnetlink.add_element(table, plan.PUBLISHED, published_port, address, container_port)
    try:
        _batch([add])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        _batch([nfnetlink.delete_element(table, plan.PUBLISHED, published_port), add])


def unpublish(config: HostConfig, published_port: int) -> None:
    """Lead the published port nowhere; calm when it already does, or when the table is gone."""
    delete = nfnetlink.delete_element(plan.table_of(config), plan.PUBLISHED, published_port)
    _batch([delete], fine=frozenset({errno.ENOENT}))


def _batch(messages: list[Message], *, fine: frozenset[int] = frozenset()) -> None:
    with Netlink(NETLINK_NETFILTER) as filters:
        filters.send_framed(
            messages, before=[nfnetlink.begin()], after=[nfnetlink.end()], fine=fine
        )


def _create(route: Netlink, pair: Message, host_end: str) -> None:
    try:
        route.send([pair])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        route.send([rtnetlink.delete_link(host_end)], fine=frozenset({errno.ENODEV}))
        route.send([pair])


def _set_up_inside(address: IPv4Address, gateway: IPv4Address) -> None:
    """Everything the container's own end needs, done from inside its namespace."""
    switch_ipv6_off("all")
    index = socket.if_nametoindex(plan.CONTAINER_INTERFACE)
    with Netlink() as route:
        route.send(
            [
                rtnetlink.link_up(_LOOPBACK_INDEX),
                rtnetlink.link_up(index),
                rtnetlink.put_address(index, address),
                rtnetlink.put_neighbour(index, gateway, plan.HOST_MAC),
                rtnetlink.put_default_route(index, gateway),
            ]
        )


@contextmanager
def _inside(netns_fd: int) -> Iterator[None]:
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
