"""Stops this Stoa and looks whether anything is left: bin/down [--purge [--all]] [--yes]

  --purge   also delete its data: shops, database, secrets, logs (asks first, unless --yes)
  --all     with --purge, also the cache of built images
  --yes     do not ask
  --quiet   say nothing while all goes well
  --help    this text

It works when the supervisor is gone, when some programs are, and when nothing runs at all.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from installer.commands import check, logged, tail
from installer.further import host, network
from installer.installation import Installation
from installer.machine import processes, scopes, store
from installer.progress import InstallError, Steps, complain
from installer.refusals.leftovers import refuse_leftovers
from installer.refusals.machine import refuse_ordinary_user
from installer.supervising.supervisor import SupervisorError
from settings import inner
from settings.site import load

_WORDS = frozenset({"--purge", "--all", "--yes", "--quiet"})
# Nobody gives or takes new work any more.
_FRONT = (
    *("beat", "sweep", "control", "events", "depot", "web"),
    *("haproxy", "edge-agent", "host-agent"),
)
# The keeper gets the longest time: it ends the shops.
_LEFT_SECONDS, _LEFT_LATER_SECONDS = 40.0, 5.0


def main(argv: list[str]) -> int:
    """Do what bin/down does. Raises InstallError and SettingError."""
    given = set(argv)
    if given & {"-h", "--help"}:
        print(__doc__.strip())
        return 0
    for word in argv:
        if word not in _WORDS:
            raise InstallError(f"I know --purge, --all, --yes and --quiet, not '{word}'")
    if "--all" in given and "--purge" not in given:
        raise InstallError("--all goes with --purge")
    refuse_ordinary_user("down")
    say = Steps(None if "--quiet" in given else sys.stdout)
    of = Installation(load(os.environ, Path.cwd()), say)
    if "--purge" in given:
        _confirm(of, is_meant="--yes" in given)
    if (of.var / "run").is_dir():
        with of.locked():
            stop(of)
            _delete(of, given)
    else:
        stop(of)
        _delete(of, given)
    say("stopped")
    return 0


def _confirm(of: Installation, *, is_meant: bool) -> None:
    if is_meant or not of.var.exists():
        return
    if not sys.stdin.isatty():
        raise InstallError(
            f"--purge deletes every shop and its data in {of.var}",
            "say --yes as well when that is meant",
        )
    print(f"Delete every shop and all data in {of.var}? Type yes: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise InstallError("nothing was done")


def stop(of: Installation) -> None:
    """Stop everything of it, and look whether anything is left. Idempotent; data stay."""
    if (of.var / "run").is_dir():
        _stop_supervised(of)
        _stop_further_hosts(of)
        _end_leftovers(of)
        _clean(of)
    _forget(of)
    refuse_leftovers(of)


def _stop_supervised(of: Installation) -> None:
    """Front to back: first new work, then the shops, then what keeps things."""
    supervisor = of.supervisor()
    pid = supervisor.pid()
    if not pid:
        return
    of.say("stopping edge, web, workers and agents")
    _ask_to_stop(of, *_FRONT)
    of.say("stopping the shops and their keeper")
    _ask_to_stop(of, "keeper")
    _stop_further_hosts(of)
    of.say("stopping PostgreSQL and Redis")
    _ask_to_stop(of, "redis", "postgres")
    host.end_supervisor(supervisor, pid)


def _ask_to_stop(of: Installation, *names: str) -> None:
    try:
        of.supervisor().ask("stop", *names)
    except SupervisorError as error:
        complain(str(error))  # what did not stop is ended below


def _stop_further_hosts(of: Installation) -> None:
    """Those that still run, whether or not the supervisor of all else does."""
    names = [name for name in network.known(of) if host.supervisor(of, name).pid()]
    if names:
        of.say(f"stopping {len(names)} further hosts")
        host.each(host.stop, of, names)


def _end_leftovers(of: Installation) -> None:
    left = processes.of(of.var)
    if left:
        of.say(f"ending {len(left)} programs that had no supervisor")
        processes.end_all(of.var, _LEFT_SECONDS)
        processes.end_all(of.var, _LEFT_LATER_SECONDS)  # what those started meanwhile


def _clean(of: Installation) -> None:
    """Containers, mounts, namespaces, devices, nftables and cgroups: the runtime knows its own.

    It removes nothing from the disk: images, volumes and what should run stay for the next bin/up.
    """
    is_ours = scopes.is_ours(of.site)
    if is_ours and (of.var / "host").is_dir():
        log = of.var / "logs/down.log"
        log.parent.mkdir(mode=0o750, exist_ok=True)
        purge = of.enter(sys.executable, "-S", "-m", "runtime", "purge", role="plain")
        if logged(purge, log, env=of.environ):
            complain(tail(log, 15))
            raise InstallError(
                "the runtime could not clean up this host", f"the whole output: {log}"
            )
    if is_ours:
        host.each(host.clean, of, network.known(of))
    network.down(of)
    if (of.var / "host/store.img").exists():
        store.release(of.state)


def _delete(of: Installation, given: set[str]) -> None:
    if "--purge" not in given:
        return
    of.say(f"deleting {of.var}")
    cache = inner.CACHE.of(of.environ).resolve()
    for entry in of.var.iterdir() if of.var.is_dir() else ():
        if entry.resolve() == cache and "--all" not in given:
            continue
        # One file system: whatever is mounted below is not ours to delete.
        check("rm", "-rf", "--one-file-system", "--", str(entry))
    with suppress(OSError):
        of.var.rmdir()


def _forget(of: Installation) -> None:
    scopes.release(of.site)
    for file in (of.var / "run").glob("*.started"):
        file.unlink(missing_ok=True)
    (of.var / "run/supervisord.pid").unlink(missing_ok=True)
