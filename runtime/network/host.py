"""What a host's network consists of once, however many containers it runs: address, forwarding, rules."""

import errno
from ipaddress import IPv4Address
from pathlib import Path

from runtime.config import HostConfig
from runtime.errors import HostUnfitError
from runtime.network import plan, rtnetlink, table
from runtime.network.netlink import Netlink, NetlinkError

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_GONE = frozenset({errno.ENODEV})
# Above that of every route somebody makes by hand.
UNREACHABLE_METRIC = 4096


def ensure_host(config: HostConfig) -> bool:
    """Make the host's address, forwarding and rules be there; cheap (well below 1 ms) when they are.

    Repairs whatever part is missing and keeps published ports. Returns whether rules were missing (then
    `repair` is due, for the table may be a new one). Raises HostError.
    """
    _ensure_forwarding()
    with Netlink() as route:
        _ensure_address(config, route)
    return table.ensure_table(config, resolver(config))


def resolver(config: HostConfig) -> IPv4Address | None:
    """Return the name server that containers' questions are passed on to; None when this host has none for
    them.
    """
    if config.resolver:
        return config.resolver
    for path in _RESOLV_CONFS:
        try:
            found = plan.resolver_in(path.read_text())
        except OSError:
            continue
        if found:
            return found
    return None


def remove_host(config: HostConfig) -> None:
    """Remove everything this host's network consists of, leftover container ends included."""
    table.delete(config)
    with Netlink() as route:
        for name in _interfaces(config, route):
            route.send([rtnetlink.delete_link(name)], fine=_GONE)
        closed = rtnetlink.drop_unreachable(config.subnet, UNREACHABLE_METRIC)
        route.send([closed], fine=frozenset({errno.ESRCH}))


def switch_ipv6_off(interface: str) -> None:
    """Take IPv6 from an interface (or `all`) of the network namespace the thread is in."""
    # A container reached a host service over its link-local IPv6 address: both ends must have none.
    # /proc/sys/net shows the namespace of the process that opens it.
    switch = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    try:
        switch.write_text("1")
    except FileNotFoundError:
        return  # a kernel without IPv6


def _ensure_forwarding() -> None:
    if _FORWARDING.read_text().strip() == "1":
        return
    try:
        _FORWARDING.write_text("1\n")
    except OSError as error:
        raise HostUnfitError(
            f"net.ipv4.ip_forward is 0 and cannot be set ({error.strerror});"
            " set it to 1 in /etc/sysctl.d and run sysctl --system"
        ) from error


def _ensure_address(config: HostConfig, route: Netlink) -> None:
    name = plan.holder_of(config)
    found = route.ask(rtnetlink.get_link(name))
    if not found:
        # Two starts at once may both find it missing: the second one's EEXIST is fine.
        route.send([rtnetlink.new_holder(name)], fine=frozenset({errno.EEXIST}))
        switch_ipv6_off(name)
        found = route.ask(rtnetlink.get_link(name))
    if not found:
        raise NetlinkError(f"interface {name} vanished while it was set up", errno=errno.ENODEV)
    link = rtnetlink.parse_link(found[0][1])
    messages = [
        rtnetlink.put_address(link.index, config.address),
        # Else what is sent to a container that has ended leaves by the default route, to strangers.
        rtnetlink.put_unreachable(config.subnet, UNREACHABLE_METRIC),
    ]
    if not link.up:
        messages.append(rtnetlink.link_up(link.index))
    route.send(messages)


def _interfaces(config: HostConfig, route: Netlink) -> list[str]:
    answers = route.ask(rtnetlink.list_links())
    names = (rtnetlink.parse_link(body).name for _kind, body in answers)
    return [name for name in names if name.startswith(config.interface_prefix)]
