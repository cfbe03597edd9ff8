"""The commands around the store that keeps tenants below their disk limits."""

import json
import sys
from argparse import ArgumentTypeError, Namespace

from runtime.config import HostConfig
from runtime.disk import Spaces, loop, provide
from runtime.errors import HostError, InputError
from runtime.ids import check_slug
from runtime.units import bytes_text
from settings.kinds import bytes_of


def store(config: HostConfig, arguments: Namespace) -> int:
    """Do what `python -m runtime store VERB` says."""
    act = {"up": _up, "down": _down, "grow": _grow, "show": _show, "adopt": _adopt}[arguments.what]
    return act(config, arguments)


def know_volume(config: HostConfig, arguments: Namespace) -> int:
    """Let shops start with a directory that lost its mark, or all it held: a copy made by hand, say."""
    path = Spaces(config.state_dir).know(check_slug(arguments.volume))
    done = {"volume": arguments.volume, "place": str(path)}
    print(
        json.dumps(done) if arguments.json else f"{path} is volume {arguments.volume} from now on"
    )
    return 0


def size_of(text: str) -> int | None:
    """Bytes written as 2G, 512M or a plain number; None for "", which leaves the choice to us."""
    try:
        return bytes_of(text) if text.strip() else None
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _up(config: HostConfig, arguments: Namespace) -> int:
    provide.provide(config.state_dir, arguments.size, note=_note)
    return _show(config, arguments)


def _down(config: HostConfig, arguments: Namespace) -> int:
    loop.release(config.state_dir)
    print(json.dumps({"done": "unmounted"}) if arguments.json else "the store is not mounted")
    return 0


def _grow(config: HostConfig, arguments: Namespace) -> int:
    if not arguments.size:
        raise InputError("store grow needs the new size, for example: store grow 40G")
    loop.grow(config.state_dir, arguments.size)
    return _show(config, arguments)


def _show(config: HostConfig, arguments: Namespace) -> int:
    loop.check_mounted(config.state_dir)
    found = loop.current(config.state_dir)
    if arguments.json:
        facts = {
            "kind": found.kind,
            "place": str(found.place),
            "is_enforced": found.is_enforced,
            "is_loop": found.is_loop,
            "total_bytes": found.total_bytes,
            "free_bytes": found.free_bytes,
        }
        print(json.dumps(facts))
        return 0
    how = "enforced" if found.is_enforced else "measured, not enforced"
    print(
        f"{found.place}: {found.kind}, disk limits are {how};"
        f" {bytes_text(found.free_bytes)} of {bytes_text(found.total_bytes)} free"
    )
    return 0


def _adopt(config: HostConfig, arguments: Namespace) -> int:
    with provide.no_keeper(config.state_dir) as is_free:
        if not is_free:
            raise HostError("containers use the volumes: stop the keeper first (bin/down)")
        loop.remount(config.state_dir)
        provide.take_over(config.state_dir, note=_note)
    return 0


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
