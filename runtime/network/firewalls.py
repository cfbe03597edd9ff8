"""Finds other programs' firewall rules that would win over ours: a drop in any table is final."""

import json
import re
from pathlib import Path

from runtime.config import HostConfig
from runtime.network import plan
from runtime.system.commands import run, run_unchecked

_SECONDS = 10
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
# A rule without a condition that ends every packet that got so far, as firewalld's last one.
_ENDS_ALL = re.compile(r"(counter packets \d+ bytes \d+ )?(drop|reject( with .*)?)")


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
