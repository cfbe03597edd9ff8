"""`python -m runtime …`: reads the arguments, calls one command, turns errors into one clear line."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.cli import commands, housekeeping, images, store
from runtime.config import HostConfig, host_config
from runtime.errors import RuntimeCoreError
from settings import inner

Doctor = Callable[[HostConfig, bool], int]

_ABOUT = "Look at and look after the containers of this host."
_ENVIRONMENT = f"""\
environment:
  STOA_HOST_STATE  where this host keeps its state (default {inner.HOST_STATE.default})
  STOA_HOST_NAME, STOA_SCOPE, STOA_SUBNET, STOA_PORTS  as the keeper and the agent have them
  `bin/stoa-env python -m runtime …` sets all of them for the Stoa of this checkout.
INSTANCE is an instance id, the start of one, or a tenant's name."""


def main(argv: list[str], environ: Mapping[str, str], *, doctor: Doctor) -> int:
    """Run one command; returns the exit code: 0 well, 1 failed, 2 not understood, exec: the command's own."""
    arguments = _parser().parse_args(argv)
    try:
        config = host_config(environ)
        if arguments.command == "doctor":
            return doctor(config, bool(arguments.json))
        run: Callable[[HostConfig, argparse.Namespace], int] = arguments.run
        return run(config, arguments)
    except RuntimeCoreError as error:
        if getattr(arguments, "json", False):
            print(json.dumps({"error": {"code": error.code, "message": error.message}}))
        print(f"runtime: {error.message}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0  # `… | head` has seen enough
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime",
        description=_ABOUT,
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_looking(verbs)
    _add_acting(verbs)
    return parser


def _add_looking(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ps = _verb(verbs, "ps", "list the instances that run here", commands.ps)
    ps.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    ps.add_argument("-q", "--quiet", action="store_true", help="ids only")
    logs = _verb(verbs, "logs", "show what an instance has printed", commands.logs)
    logs.add_argument("instance", metavar="INSTANCE")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what it prints")
    logs.add_argument(
        "-n", "--tail", type=_count, default=100, metavar="N", help="lines (default 100), or all"
    )
    logs.add_argument(
        "--since",
        type=_age,
        default=0.0,
        metavar="AGE",
        help="only those since then: 30s, 5m, 2h, 1d",
    )
    logs.add_argument(
        "--no-timestamps", dest="timestamps", action="store_false", help="the text alone"
    )
    _verb(verbs, "stats", "show what running instances use", commands.stats).add_argument(
        "instance", metavar="INSTANCE", nargs="*", help="only these"
    )
    _verb(verbs, "images", "list the images in this host's store", images.images)
    _verb(verbs, "doctor", "say what this host lacks to run containers", None)


def _add_acting(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = _verb(verbs, "exec", "run a command inside an instance", commands.execute)
    run.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="then kill it (default 30)"
    )
    run.add_argument(
        "-i", "--interactive", action="store_true", help="pass our standard input on; no time limit"
    )
    run.add_argument(
        "-t", "--tty", action="store_true", help="give it a terminal like ours; no time limit"
    )
    run.add_argument("instance", metavar="INSTANCE")
    run.add_argument("argv", metavar="ARG", nargs=argparse.REMAINDER, help="command and arguments")
    take = _verb(verbs, "import-image", "put an OCI image into this host's store", images.take)
    take.add_argument("layout", metavar="LAYOUT", type=Path, help="OCI layout directory or tar")
    take.add_argument("--name", required=True, help="what people call it")
    pull = _verb(verbs, "pull", "fetch an image from a registry", images.pull)
    pull.add_argument("reference", metavar="REFERENCE", help="REGISTRY/NAME[:TAG][@sha256:…]")
    pull.add_argument("--name", default="", help="what people call it (the reference itself)")
    pull.add_argument(
        "--authfile", type=Path, metavar="FILE", help="logins (default STOA_REGISTRY_AUTH_FILE)"
    )
    pull.add_argument(
        "--ca-dir", type=Path, metavar="DIR", help="*.crt to believe (default STOA_REGISTRY_CA_DIR)"
    )
    gc = _verb(
        verbs,
        "image-gc",
        "remove images that no instance and no kept release needs, and that were not used within the hour",
        images.collect,
    )
    gc.add_argument("--dry-run", action="store_true", help="only say which")
    gc.add_argument(
        "--keep",
        action="append",
        metavar="DIGEST",
        help="keep this one too (repeat it), beside what the control plane last said",
    )
    _verb(
        verbs,
        "keeper-upgrade",
        "let the running keeper execute the code that is on disk now; containers go on",
        housekeeping.keeper_upgrade,
    )
    down = _verb(
        verbs, "down", "end every container; the keeper starts them again", housekeeping.down
    )
    down.add_argument(
        "--grace", type=float, default=10.0, metavar="SECONDS", help="before KILL (default 10)"
    )
    what = _verb(
        verbs,
        "store",
        "the place that keeps tenants below their disk ceilings: up makes and mounts it, down unmounts it,"
        " grow makes it larger in use, adopt takes older volumes into it",
        store.store,
    )
    what.add_argument("what", choices=("show", "up", "down", "grow", "adopt"))
    what.add_argument(
        "size", nargs="?", type=store.size_of, metavar="SIZE", help="for up and grow: 20G, 512M, 0"
    )
    know = _verb(
        verbs,
        "know-volume",
        "take what lies where a volume belongs for the volume, after somebody has looked at it",
        store.know_volume,
    )
    know.add_argument("volume", metavar="VOLUME", help="as a data_missing error names it")
    _verb(
        verbs,
        "purge",
        "end every container and remove this host's cgroups, network devices and firewall table;"
        " images and volumes stay on disk",
        housekeeping.purge,
    )


def _count(text: str) -> int:
    """Return a number of lines, -1 for all."""
    if text == "all":
        return -1
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines: give 0 or more, or all")
    return int(text)


def _age(text: str) -> float:
    """Return seconds for 30s, 5m, 2h or 1d."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: give for example 30s, 5m, 2h or 1d")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    run: Callable[[HostConfig, argparse.Namespace], int] | None,
) -> argparse.ArgumentParser:
    added = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    added.add_argument("--json", action="store_true", help="print JSON instead of a table")
    added.set_defaults(run=run)
    return added
