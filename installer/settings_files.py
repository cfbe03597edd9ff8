"""Settings of one host in a file: shell words, which deploy/run-host and bin/ read."""

import re
import shlex
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

from installer import secret_files
from settings import common, hosts, inner
from settings.setting import SettingError

_PLAIN = re.compile(r"[A-Za-z0-9_/.,:@+=?&~%-]*")
# Of a further host's own /22: its published ports and 256 more addresses fit into it.
_MOST_PORTS = 760
_NETWORK_SIZE = 1024


def write(path: Path, settings: Mapping[str, str]) -> None:
    """Replace the file in one step, mode 0600. SettingError for a value that no shell word should hold."""
    for name, value in settings.items():
        if not _PLAIN.fullmatch(value):
            raise SettingError(
                f"{name} holds characters that a settings file cannot: {value!r}", name=name
            )
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    secret_files.write(path, "".join(lines))


def of_further_host(site: Mapping[str, str], name: str, number: int) -> dict[str, str]:
    """Return what a further host of this machine is (bin/up --hosts N). site: the variables of its Stoa.

    Addresses, within STOA_LAB_SUBNET: the first /22 is the bridge's (.1 control plane and edge, .N host N);
    each further /22 is a host's own: .1 its published ports, the rest its containers.
    """
    first = hosts.LAB_SUBNET.of(site).network_address
    place = first + _NETWORK_SIZE * (number - 1)
    scope, mark, pool = (
        setting.text(site) for setting in (common.SCOPE, inner.ID, common.POOL_ADDRESS)
    )
    ports = hosts.PORTS.of(site)
    last = min(ports.stop - 1, ports.start + _MOST_PORTS - 1)
    return {
        hosts.HOST_NAME.name: name,
        inner.HOST_STATE.name: f"{inner.SHORT.text(site)}/hosts/{name}/state",
        inner.HOST_NETNS.name: f"/run/netns/{scope}-{name}",
        inner.HOST_LINK.name: f"sl-{mark[:8]}-{number}",
        inner.HOST_ADDRESS.name: str(place + 1),
        inner.HOST_GATEWAY.name: str(IPv4Address(first + number)),
        hosts.SUBNET.name: f"{place}/22",
        hosts.PORTS.name: f"{ports.start}-{last}",
        hosts.EDGE_ADDRESSES.name: pool,
        hosts.EDGE_SOURCES.name: f"{pool}/32",
        hosts.RESOLVER.name: "",
        inner.SLICE_CPU_MILLIS.name: hosts.LAB_CPU_MILLIS.text(site),
        inner.SLICE_MEMORY_BYTES.name: hosts.LAB_MEMORY_BYTES.text(site),
        hosts.STORE_BYTES.name: hosts.LAB_STORE_BYTES.text(site),
        inner.BROKER_ADDRESS.name: f"{pool}:{inner.REDIS_PORT.of(site)}",
        inner.CONTROL_URL.name: f"https://{pool}:{inner.DEPOT_PORT.of(site)}",
    }
