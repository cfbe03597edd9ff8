"""What this machine has of networks, addresses and listening ports, before anything of ours is made."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from installer.commands import output

# Loopback, and what Stoas make: bridges and cables of further hosts, containers' devices.
_OURS = re.compile(r"lo$|sb-|sl-|v[0-9a-f]{4}-|stoa")
_HOLDER = re.compile(r'\("([^"]+)",pid=(\d+)')
_EVERYWHERE = frozenset({"*", "0.0.0.0", "[::]"})  # noqa: S104 - compared, not listened at


@dataclass(frozen=True, slots=True)
class Listener:
    """A program that listens at a port. address: as ss writes it."""

    address: str
    port: int
    holder: str

    def is_in_the_way(self, port: int, address: str) -> bool:
        """Whether nobody else can listen at the port; address: only there, "" for everywhere."""
        place = self.address.partition("%")[0]
        return self.port == port and (not address or place == address or place in _EVERYWHERE)


def foreign() -> Iterator[tuple[IPv4Network, str]]:
    """Networks in the machine's own table of routes, each with its device; without those of Stoas."""
    for line in output("ip", "-4", "route", "show", "table", "main").splitlines():
        words = line.split()
        if not re.search(r"/\d+$", words[0]) or "dev" not in words[:-1]:
            continue
        device = words[words.index("dev") + 1]
        if not _OURS.match(device):
            yield IPv4Network(words[0]), device


def addresses(*which: str) -> list[str]:
    """IPv4 addresses of this machine's interfaces. which: further words for `ip addr show`."""
    lines = output("ip", "-o", "-4", "addr", "show", *which).splitlines()
    return [line.split()[3].partition("/")[0] for line in lines]


def listeners() -> list[Listener]:
    """Every program that listens at a TCP port."""
    found = []
    for line in output("ss", "-Hltnp").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        known = _HOLDER.search(line)
        holder = f"{known[1]} (process {known[2]})" if known else "another program"
        found.append(Listener(address, int(port), holder))
    return found
