"""The Stoa of one directory: what it was given, what it had before, and all that follows from it.

Given is what stands in the environment; then what the last bin/up was given ($STOA_VAR/settings); then the
defaults. `variables` is what programs get to see; settings/programs.py gives each of them its part.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from settings import common, control, edges, fit, hosts, inner
from settings.setting import SettingError
from settings.table import KEPT

# A unix socket's path may have 107 characters: a longer directory is reached by a short link.
_MOST_PATH = 60
_PLAIN = re.compile(r"[A-Za-z0-9_/.,+@=-]+")


@dataclass(frozen=True, slots=True)
class Site:
    """saved: of the last bin/up; {} without one. given: of this one, without what follows from it."""

    var: Path
    saved: Mapping[str, str]
    given: Mapping[str, str]
    variables: Mapping[str, str]


def load(environ: Mapping[str, str], folder: Path) -> Site:
    """Read and check all settings. folder: where a relative STOA_VAR begins. Raises SettingError."""
    var = _var(environ, folder)
    saved = read_file(var / "settings")
    given = {
        setting.name: environ.get(setting.name) or saved.get(setting.name) or setting.fixed_default
        for setting in KEPT
    }
    site = Site(var, saved, given, _variables(environ, saved, given, var))
    for setting in KEPT:
        setting.of(site.variables)
    fit.site(site.variables)
    return site


def read_file(path: Path) -> dict[str, str]:
    """Return the STOA_* lines of a settings file; {} when it is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if line.startswith("STOA_") and "=" in line)
    return {name: value.strip("'") for name, value in pairs}


def further_host(var: Path, name: str) -> dict[str, str]:
    """Return the settings of a further host of this machine. var: of its Stoa. SettingError when there is
    none.
    """
    file = var / "hosts" / name / "settings"
    if not file.is_file():
        known = sorted(path.parent.name for path in (var / "hosts").glob("*/settings"))
        raise SettingError(
            f"there is no further host '{name}' here",
            f"further hosts: {' '.join(known) or 'none'}",
            name=inner.VAR.name,
        )
    return read_file(file)


def _var(environ: Mapping[str, str], folder: Path) -> Path:
    var = Path(os.path.normpath(folder / inner.VAR.text(environ))).resolve()
    # supervisord splits commands at spaces and reads %: what would break there is refused here.
    for name, path in ((inner.VAR.name, var), ("the checkout", inner.REPO)):
        if not _PLAIN.fullmatch(str(path)):
            raise SettingError(
                f"{name} is '{path}'; its path must have letters, digits and _/.,+@=- only",
                "move the checkout, or set STOA_VAR to a directory with a plain name",
                name=inner.VAR.name,
            )
    return var


def _variables(
    environ: Mapping[str, str], saved: Mapping[str, str], given: Mapping[str, str], var: Path
) -> dict[str, str]:
    found = {**environ, **given, inner.VAR.name: str(var)}
    found[inner.RUN_AS.name] = saved.get(inner.RUN_AS.name) or "root"
    found[inner.CACHE.name] = inner.CACHE.text(environ)
    mark = hashlib.sha256(str(var).encode()).hexdigest()[:10]
    short = var if len(str(var)) <= _MOST_PATH else Path(f"/run/stoa-{mark}")
    found |= {inner.ID.name: mark, inner.SHORT.name: str(short)}
    found[common.POOL_ADDRESS.name] = _pool_address(found)
    if not given[edges.NETWORKS.name] and found[common.POOL_ADDRESS.name]:
        found[edges.NETWORKS.name] = edges.NETWORKS.text(found)
    for setting in _FOLLOWING:
        found[setting.name] = setting.text(found)
    # Of this Stoa alone: the caller may stand in the environment of another one.
    for setting in _OF_THIS_ALONE:
        found[setting.name] = setting.text(_without(found, setting.name))
    found[inner.PG_SOCKET.name] = f"{short}/postgres/socket"
    secrets = inner.SECRETS_DIR.text(found)
    defaults = {
        inner.HOST_STATE.name: f"{short}/host",
        inner.EDGE_STATE.name: f"{short}/edge",
        inner.CONTROL_URL.name: inner.depot_here(found),
        inner.CONTROL_CA.name: f"{secrets}/pool-ca.crt",
    }
    found |= {name: environ.get(name) or value for name, value in defaults.items()}
    found[inner.CONSOLE_URL.name] = console_url(found)
    return found


_FOLLOWING = (
    common.PUBLIC_PORT,
    hosts.LAB_CPU_MILLIS,
    control.SNAPSHOTS,
    control.ALARM_MAIL_FROM,
    inner.IMAGES,
    inner.EDGE_USER,
)
_OF_THIS_ALONE = (
    inner.SECRETS_DIR,
    inner.STATIC_ROOT,
    inner.REDIS_PORT,
    inner.WEB_PORT,
    inner.EVENTS_PORT,
    inner.DEPOT_PORT,
)


def _without(environ: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in environ.items() if key != name}


def _pool_address(environ: Mapping[str, str]) -> str:
    """Return where further hosts of this machine reach Redis and the depot: the bridge's address."""
    bridge, given = str(bridge_address(environ)), common.POOL_ADDRESS.text(environ)
    if hosts.HOSTS.of(environ) > 1:
        return bridge
    return "" if given == bridge else given  # the bridge is not there any more


def bridge_address(environ: Mapping[str, str]) -> IPv4Address:
    """Return the bridge's own address in the further hosts' network."""
    return hosts.LAB_SUBNET.of(environ)[1]


def console_url(environ: Mapping[str, str]) -> str:
    """Return the platform's own pages, as browsers write their address."""
    return f"{common.PUBLIC_SCHEME.of(environ)}://{common.CONSOLE_HOST.of(environ)}{port_suffix(environ)}"


def port_suffix(environ: Mapping[str, str]) -> str:
    """`:PORT` where people have to write it."""
    usual = {"http": 80, "https": 443}[common.PUBLIC_SCHEME.of(environ)]
    port = common.PUBLIC_PORT.of(environ)
    return "" if port == usual else f":{port}"
