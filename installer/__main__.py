"""python3 -m installer VERB: what the programs in bin/ and deploy/ have done here.

prepare KIND            install what a machine of this kind (host, server, developer) lacks, and .venv
conf [HOST]             write the supervisor's configuration, of this Stoa or of a further host
start [HOST]            and start it
host NAME NUMBER        write the settings of a further host
secrets OWNER FILE…     make the secrets that are missing, and give all of them to their owner
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from installer import secret_files, settings_files
from installer.machine import packages, virtualenv
from installer.progress import InstallError, Steps
from installer.supervisor import Supervisor, SupervisorError
from settings import common, inner
from settings.setting import SettingError
from settings.site import Site, further_host, load

_ENTER = inner.REPO / "bin/stoa-env"


def main(argv: list[str]) -> int:
    """See the module's text."""
    verbs: dict[str, Callable[..., None]] = {
        "prepare": _prepare,
        "conf": _conf,
        "start": _start,
        "host": _host,
        "secrets": _secrets,
    }
    if not argv or argv[0] not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        verbs[argv[0]](*argv[1:])
    except (InstallError, SettingError, SupervisorError, OSError) as error:
        print(f"\ninstaller: {error}", file=sys.stderr)
        return 1
    return 0


def _prepare(kind: str) -> None:
    say = Steps(sys.stdout)
    packages.ensure(kind, say)
    virtualenv.ensure(say)
    if kind != "host":
        virtualenv.compile_languages()


def _conf(host: str = "") -> None:
    _write(load(os.environ, Path.cwd()), host)


def _start(host: str = "") -> None:
    site = load(os.environ, Path.cwd())
    own = {one.name: one.text(site.variables) for one in (inner.VAR, inner.CACHE)}
    inside: tuple[str, ...] = ()
    if host:
        inside = ("nsenter", f"--net={further_host(site.var, host)[inner.HOST_NETNS.name]}")
    _write(site, host).start(inside=inside, environ=own)


def _write(site: Site, host: str) -> Supervisor:
    short, scope = inner.SHORT.of(site.variables), common.SCOPE.of(site.variables)
    if not host:
        found = Supervisor(site.var, short, scope)
        ports = (inner.WEB_PORT, inner.EVENTS_PORT)
        marks = {one.name.removeprefix("STOA_"): one.text(site.variables) for one in ports}
        found.write("supervisord.conf.in", {"RUN": str(_ENTER), **marks}, autostart=False)
        return found
    found = Supervisor(site.var / "hosts" / host, short / "hosts" / host, f"{scope}-{host}")
    enter = f"{_ENTER} --host {host}"
    keeper = f"{enter} --as plain --program keeper python -m runtime.keeper"
    agent = f"{enter} --as host --program host-agent python -m workers.agents host"
    # As at a machine's boot: it starts everything itself.
    found.write("supervisord-host.conf.in", {"KEEPER": keeper, "AGENT": agent}, autostart=True)
    return found


def _host(name: str, number: str) -> None:
    site = load(os.environ, Path.cwd())
    found = settings_files.of_further_host(site.variables, name, int(number))
    settings_files.write(site.var / "hosts" / name / "settings", found)


def _secrets(owner: str, *files: str) -> None:
    for file in files:
        secret_files.ensure(Path(file), owner=owner)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
