"""What this machine has of networks, addresses and listening ports, before anything of ours is made."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from installer.commands import output
from runtime.network.firewalls import foreign_networks, routes_of_machine

# Loopback, and what Stoas make: bridges and cables of further hosts, containers' devices.
_OURS = re.compile(r"lo$|sb-|sl-|v[0-9a-f]{4}-|stoa")
_HOLDER = re.compile(r'\("([^"]+)",pid=(\d+)')
_EVERYWHERE = frozenset({"*", "0.0.0.0", "[::]"})  # noqa: S104 - compared, not listened at


@dataclass(frozen=True, slots=True)
class PortHolder:
    """A program that listens at a port. address: as ss writes it."""

    address: str
    port: int
    holder: str

    def is_in_the_way(self, port: int, address: str) -> bool:
        """Return whether nobody else can listen at the port; address: only there, "" for everywhere."""
        place = self.address.partition("%")[0]
        return self.port == port and (not address or place == address or place in _EVERYWHERE)


def foreign() -> Iterator[tuple[IPv4Network, str]]:
    """Networks that the machine has without any Stoa, each with its device."""
    if shutil.which(
        "ip"
    ):  # what it brings is installed later: nothing of this kind was set up by hand
        yield from foreign_networks(
            routes_of_machine(), is_ours=lambda device: bool(_OURS.match(device))
        )


def addresses() -> list[str]:
    """IPv4 addresses of this machine that other machines may reach."""
    lines = output("ip", "-o", "-4", "addr", "show", "scope", "global").splitlines()
    return [line.split()[3].partition("/")[0] for line in lines]


def listeners() -> list[PortHolder]:
    """Return every program that listens at a TCP port."""
    found = []
    for line in output("ss", "-Hltnp").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        known = _HOLDER.search(line)
        holder = f"{known[1]} (process {known[2]})" if known else "another program"
        found.append(PortHolder(address, int(port), holder))
    return found
