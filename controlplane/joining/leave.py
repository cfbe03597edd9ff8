"""Undoes a join: the pool forgets this host, its programs end, and nothing of it stays running."""

import shutil
import subprocess

from controlplane.joining.errors import JoiningError, RefusedError
from controlplane.joining.host_paths import HostPaths
from controlplane.joining.join import Say
from controlplane.joining.programs import Programs
from controlplane.joining.trust import TrustedDepot
from installer import secret_files
from settings import common, hosts, inner

_GONE = frozenset({401, 404})


def leave(place: HostPaths, *, say: Say, purge: bool = False, anyway: bool = False) -> str:
    """Leave the pool; the name this host had. Repeatable. Raises JoiningError.

    purge: also delete images and shops' data. anyway: also when the control plane does not let us go or
    cannot be asked; then an operator has to forget this host there.
    """
    settings = place.settings()
    if not settings:
        raise JoiningError(f"there is no joined host in {place.var}; is it another --var?")
    name = hosts.HOST_NAME.of(settings)
    with place.locked():
        say("asking the control plane to let this host go")
        try:
            _ask(place, inner.CONTROL_URL.of(settings), name)
        except JoiningError as error:
            if not anyway:
                raise
            say(f"  note: {error}")
        say("stopping agent and keeper")
        Programs(place, common.SCOPE.of(settings)).stop()
        say("removing containers, networks and cgroups")
        _runtime(place, "purge")
        if (place.state / "store.img").exists():
            _runtime(place, "store", "down")
        place.forget_credentials()
        if purge:
            shutil.rmtree(place.state)
        # Last: as long as it is there, a repeat knows what to undo.
        place.host_env.unlink()
    return name


def _ask(place: HostPaths, url: str, name: str) -> None:
    token = secret_files.read(place.token)
    if not token:
        return  # an earlier try came so far
    try:
        TrustedDepot(url, place.ca.read_text()).ask("POST", f"hosts/{name}/leave", {}, token=token)
    except RefusedError as error:
        if error.status not in _GONE:  # forgotten there already: nothing to ask for
            raise
    except OSError as error:
        raise JoiningError(f"{place.ca} cannot be read: {error}") from error


def _runtime(place: HostPaths, *words: str) -> None:
    argv = [str(inner.REPO / "deploy/run-host"), str(place.var), "runtime", *words]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise JoiningError(f"runtime {' '.join(words)}: {done.stderr.strip()[-500:]}")
