"""The bridge and the cables of further hosts. Redis answers at the bridge, so it comes first."""

from contextlib import suppress
from pathlib import Path

from installer import settings_files
from installer.commands import check, succeeds
from installer.installation import Installation
from settings import common, hosts, inner
from settings.site import further_host

_NETNS = Path("/run/netns")
_DEVICES = Path("/sys/class/net")
_FIRST_NUMBER = 2
# Never `ip netns exec`: it hides /sys/fs/cgroup.
_INSIDE = """
! test -e /proc/sys/net/ipv6/conf/all || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
ip link set lo up
ip address replace {address}/22 dev eth0
ip link set eth0 up
"""


def known(of: Installation) -> list[str]:
    """Return every further host that this Stoa has or had."""
    return sorted(settings.parent.name for settings in (of.var / "hosts").glob("*/settings"))


def wanted(of: Installation) -> list[str]:
    """Return the further hosts that it is to have: host2, host3, …"""
    return [f"host{number}" for number in range(_FIRST_NUMBER, hosts.HOSTS.of(of.environ) + 1)]


def bridge(of: Installation) -> str:
    """Return the bridge's name."""
    return f"sb-{inner.ID.text(of.environ)[:8]}"


def cables(of: Installation) -> str:
    """Return how the names of the bridge's ends of all cables begin."""
    return f"sl-{inner.ID.text(of.environ)[:8]}-"


def up(of: Installation) -> None:
    """Make the bridge, and settings and cable of each host that is wanted. Idempotent."""
    if not of.has_further_hosts:
        return
    name = bridge(of)
    if not (_DEVICES / name).exists():
        check("ip", "link", "add", name, "type", "bridge")
    _no_ipv6(name)
    address = f"{common.POOL_ADDRESS.text(of.environ)}/22"
    check("ip", "address", "replace", address, "dev", name)
    check("ip", "link", "set", name, "up")
    for number, host in enumerate(wanted(of), _FIRST_NUMBER):
        folder = of.var / "hosts" / host
        (folder / "run").mkdir(mode=0o755, parents=True, exist_ok=True)
        (folder / "logs").mkdir(mode=0o750, exist_ok=True)
        settings = settings_files.of_further_host(of.environ, host, number)
        settings_files.write(folder / "settings", settings)
        _plug_in(of, host)


def _plug_in(of: Installation, host: str) -> None:
    settings = further_host(of.var, host)
    netns, link = inner.HOST_NETNS.text(settings), inner.HOST_LINK.text(settings)
    gateway, address = inner.HOST_GATEWAY.text(settings), inner.HOST_ADDRESS.text(settings)
    if not Path(netns).exists():
        check("ip", "netns", "add", Path(netns).name)
    if not (_DEVICES / link).exists():
        other_end = ("peer", "name", "eth0", "netns", Path(netns).name)
        check("ip", "link", "add", link, "type", "veth", *other_end)
    _no_ipv6(link)
    check("ip", "link", "set", link, "master", bridge(of), "up")
    check("nsenter", f"--net={netns}", "sh", "-ec", _INSIDE.format(address=gateway))
    check("ip", "route", "replace", f"{address}/32", "via", gateway, "dev", bridge(of))


def _no_ipv6(device: str) -> None:
    with suppress(FileNotFoundError):
        Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1\n")


def unplug(of: Installation, host: str) -> None:
    """End a host's network, and keep it out of the hosts; its data stay."""
    _delete_netns(f"{of.scope}-{host}")
    folder = of.var / "hosts" / host
    (folder / "settings").rename(folder / "settings.before")
    (folder / "run/made").unlink(missing_ok=True)


def down(of: Installation) -> None:
    """End the network of all of them. Idempotent."""
    for host in known(of):
        _delete_netns(f"{of.scope}-{host}")
    for link in (*_DEVICES.glob(f"{cables(of)}*"), *_DEVICES.glob(bridge(of))):
        succeeds("ip", "link", "delete", link.name)  # a cable's other end may have taken it along


def _delete_netns(name: str) -> None:
    if (_NETNS / name).exists():
        check("ip", "netns", "delete", name)
