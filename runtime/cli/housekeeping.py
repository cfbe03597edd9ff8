"""The commands that clear a host: end its containers, remove what it made in the kernel."""

import json
import os
from argparse import Namespace

from runtime import network
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.errors import HostUnreachableError
from runtime.keeper.client import KeeperClient

_KILL_MARGIN_SECONDS = 20.0
# Checking the code, then the end of starts that are under way.
_UPGRADE_SECONDS = 120.0


def down(config: HostConfig, arguments: Namespace) -> int:
    """End every container. What should run stays written down: the keeper starts it when it starts.

    Without a keeper the host is cleared of cgroups and network devices too: nobody needs them then.
    """
    if _end_by_keeper(config, arguments.grace):
        return _say(arguments, "every container has ended; restarting the keeper starts them again")
    _clear(config)
    return _say(arguments, "no keeper runs; what it had left in the kernel is removed")


def purge(config: HostConfig, arguments: Namespace) -> int:
    """End every container and remove everything of this scope from the kernel; files stay."""
    by_keeper = _end_by_keeper(config, 0.0)
    _clear(config)
    tail = "; the keeper still runs, stop it too (bin/down)" if by_keeper else ""
    return _say(arguments, f"cgroups, network devices and firewall table are removed{tail}")


def keeper_upgrade(config: HostConfig, arguments: Namespace) -> int:
    """Let the running keeper execute the code that is on disk now, with the STOA_* variables of this call;
    no container notices.

    Both are checked first. When they are not fit the old keeper goes on, and that is an error.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith("STOA_")}
    answer = KeeperClient(config.keeper_socket).ask(
        "upgrade", timeout=_UPGRADE_SECONDS, settings=settings
    )
    return _say(arguments, f"the keeper (process {answer['pid']}) runs the code that is on disk")


def _end_by_keeper(config: HostConfig, grace: float) -> bool:
    try:
        KeeperClient(config.keeper_socket).ask(
            "down", grace=grace, timeout=grace + _KILL_MARGIN_SECONDS
        )
    except HostUnreachableError:
        return False
    return True


def _clear(config: HostConfig) -> None:
    Cgroups.detect(config).remove_scope()
    network.remove_host(config)


def _say(arguments: Namespace, text: str) -> int:
    print(json.dumps({"done": text}) if arguments.json else text)
    return 0
