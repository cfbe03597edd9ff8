"""What killed test runs left on this machine: keepers, cgroups and networks whose test process is gone.

A leftover takes the addresses and ports of the next run, whose tests then fail for no fault of theirs.
"""

import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from runtime import network
from runtime.cgroup.cgroups import Cgroups
from runtime.config import HostConfig

_TABLE = re.compile(r"^table inet ((p(\d+)b?)_(\w+))$", re.MULTILINE)
_NO_SUBNET = IPv4Network("198.51.100.0/24")


def scope() -> str:
    """The scope of hosts that this test process makes; its number tells who they belong to."""
    return f"p{os.getpid()}"


def sweep() -> list[str]:
    """Remove hosts whose test process is gone; returns the names of their tables."""
    listed = subprocess.run(
        ["nft", "list", "tables", "inet"], check=False, capture_output=True, text=True
    ).stdout
    gone = [found for found in _TABLE.findall(listed) if not Path(f"/proc/{found[2]}").exists()]
    for _table, owned, _pid, name in gone:
        _kill_all(owned)
        config = HostConfig(name, owned, Path("/nowhere"), _NO_SUBNET, range(1, 2))
        config = replace(config, subnet=_subnet_of(config))
        Cgroups.detect(config).remove_scope()
        network.remove_host(config)
    return [found[0] for found in gone]


def _subnet_of(config: HostConfig) -> IPv4Network:
    """The network of a host, from the address of its own interface."""
    holder = network.plan.holder_of(config)
    told = subprocess.run(
        ["ip", "-br", "-4", "address", "show", "dev", holder],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.split()
    address = told[2].partition("/")[0] if len(told) > 2 else ""
    return IPv4Network(f"{address}/16", strict=False) if address else _NO_SUBNET


def _kill_all(owned: str) -> None:
    mark = f"STOA_SCOPE={owned}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)
