"""Runs a command inside this Stoa's environment: bin/stoa-env [--host NAME] [--as ROLE] [--program NAME] CMD…

--host: as a further host of this machine (bin/up --hosts N), in its network.
Without CMD it prints the variables, for eval. `manage.py` and `python` are found by themselves:

  bin/stoa-env manage.py shell        bin/stoa-env python -m runtime ps
"""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from settings import inner
from settings.programs import environment
from settings.setting import SettingError
from settings.site import further_host, load

_SHOWN = ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PATH")
# Programs of the control plane, which need no root.
_UNPRIVILEGED = frozenset({"web", "depot", "events", "control", "sweep", "beat"})
_STARTED_FIELD = 19  # of /proc/PID/stat, after the command's name


def main(argv: list[str]) -> int:
    """Execute the command; the exit code when there is none to execute."""
    options = {"--as": "manage", "--program": "", "--host": ""}
    while argv and argv[0] in options:
        if len(argv) == 1:
            raise SystemExit(f"stoa-env: {argv[0]} needs a word after it")
        options[argv[0]], argv = argv[1], argv[2:]
    if argv[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    try:
        _run(argv, options["--as"], options["--program"], options["--host"])
    except SettingError as error:
        print(f"\nstoa-env: {error}", file=sys.stderr)
        return 1
    return 0


def _run(argv: list[str], role: str, program: str, host: str) -> None:
    site = load(os.environ, Path.cwd())
    variables = {**site.variables, **(further_host(site.var, host) if host else {})}
    environ = environment(role, variables)
    if not argv:
        shown = [name for name in sorted(environ) if name.startswith("STOA_")]
        for name in (*shown, *_SHOWN):
            if environ.get(name):
                print(f"export {name}={shlex.quote(environ[name])}")
        return
    if argv[0] == "manage.py":
        argv = ["python", str(inner.REPO / argv[0]), *argv[1:]]
    network = environ.get(inner.HOST_NETNS.name, "")
    if host and Path(network).exists():
        argv = ["nsenter", f"--net={network}", *argv]
    if program:
        argv = _as_program(argv, program, host, environ)
    _execute(argv, environ)


def _as_program(argv: list[str], program: str, host: str, environ: dict[str, str]) -> list[str]:
    """Started by the supervisor, or by itself when it takes up new code (controlplane/serving/takeover.py):
    leave a mark, by which bin/down finds it without its supervisor, and give up root where the program needs
    none.
    """
    var = inner.VAR.text(environ)
    environ |= {inner.SUPERVISED.name: var, inner.PROGRAM.name: program}
    os.chdir(inner.REPO)
    is_root = os.geteuid() == 0
    if is_root:
        mark = Path(var) / "run" / f"{program}{f'.{host}' if host else ''}.started"
        mark.write_text(f"{os.getpid()} {_started()}\n")
    user = inner.RUN_AS.of(environ)
    if program not in _UNPRIVILEGED or user == "root":
        return argv
    environ |= {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    give_up = ("--init-groups", "--no-new-privs", "--inh-caps=-all", "--")
    return ["setpriv", f"--reuid={user}", f"--regid={user}", *give_up, *argv] if is_root else argv


def _started() -> str:
    """Return when this process started, in clock ticks after boot."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[_STARTED_FIELD]


def _execute(argv: list[str], environ: Mapping[str, str]) -> None:
    sys.stdout.flush()
    try:
        os.execvpe(argv[0], argv, environ)  # noqa: S606 - what the caller wants run
    except OSError as error:
        raise SystemExit(f"stoa-env: {argv[0]}: {error.strerror}") from error
