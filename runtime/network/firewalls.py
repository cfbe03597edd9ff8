"""Finds what other programs have made that would win over ours: firewall rules, and routes."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from runtime.config import HostConfig
from runtime.network import plan
from runtime.system.commands import run, run_unchecked

_SECONDS = 10
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
# A rule without a condition that ends every packet that got so far, as firewalld's last one.
_ENDS_ALL = re.compile(r"(counter packets \d+ bytes \d+ )?(drop|reject( with .*)?)")


def routes_of_machine() -> list[dict[str, str]]:
    """Return the machine's own table of routes. Raises CommandFailedError, or ValueError for ip's answer."""
    text = run("ip", "-j", "-4", "route", "show", "table", "main", timeout=_SECONDS).output
    routes: list[dict[str, str]] = json.loads(text or "[]")
    return routes


def foreign_networks(
    routes: list[dict[str, str]], *, is_ours: Callable[[str], bool]
) -> Iterator[tuple[IPv4Network, str]]:
    """Yield networks that the machine has without us, each with its device. is_ours: of a device's name."""
    for route in routes:
        device = route.get("dev", "")
        # Unreachable are our own, for addresses that no container has just now.
        if route.get("type") != "unreachable" and route["dst"] != "default" and not is_ours(device):
            yield IPv4Network(route["dst"]), device


def why_not_here(address: IPv4Address) -> str:
    """Return why no program can listen at this address; "" when an interface of this machine has it."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def foreign_blocks(config: HostConfig) -> list[str]:
    """Chains of others that drop forwarded packets they do not know, `family table chain` each.

    Where somebody has written a rule about this host's interfaces, the chain is taken to be in order.
    Raises CommandFailedError, or ValueError when nft's answer cannot be read.
    """
    said = run("nft", "-j", "-t", "list", "chains", timeout=_SECONDS).output
    chains = [item["chain"] for item in json.loads(said)["nftables"] if "chain" in item]
    found = []
    for chain in forward_chains(config, chains):
        family, table, name = chain["family"], chain["table"], chain["name"]
        whole = run_unchecked("nft", "list", "table", family, table, timeout=_SECONDS).output
        if config.interface_prefix in whole:
            continue
        listed = run_unchecked("nft", "list", "chain", family, table, name, timeout=_SECONDS)
        if chain.get("policy") == "drop" or ends_all(listed.output):
            found.append(f"{family} {table} {name}")
    return found + _legacy_blocks(config)


def forward_chains(config: HostConfig, chains: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return nft's chains that see forwarded IPv4 packets and are not ours."""
    return [
        chain
        for chain in chains
        if chain.get("hook") == "forward"
        and chain["family"] in {"ip", "inet"}
        and chain["table"] != plan.table_of(config)
    ]


def ends_all(listed: str) -> bool:
    """Return whether a chain, as nft lists it, has a rule that drops or rejects whatever comes."""
    return any(_ENDS_ALL.fullmatch(line.strip()) for line in listed.splitlines())


def _legacy_blocks(config: HostConfig) -> list[str]:
    """Read the rules of the old iptables, which nft does not see."""
    try:
        if "filter" not in _LEGACY_TABLES.read_text().split():
            return []
    except FileNotFoundError:
        return []
    rules = run("iptables-legacy", "-S", timeout=_SECONDS).output
    closed = "-P FORWARD DROP" in rules.splitlines() and config.interface_prefix not in rules
    return ["iptables-legacy filter FORWARD"] if closed else []
