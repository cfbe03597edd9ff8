"""The environment of each kind of program, with no more than it needs.

host, edge: its own broker user and token; neither database nor secrets.
plain: neither broker nor database (keeper, PostgreSQL, Redis).
all other roles (control, sweep, web, depot, events, beat, manage): the database and all secrets.
"""

from collections.abc import Mapping
from pathlib import Path

from settings import common, edges, hosts, inner
from settings.setting import SettingError

# An agent of one of these roles proves itself by files of its own.
_AGENTS = {"host": hosts.HOST_NAME, "edge": edges.NAME}
_DATABASE_URL = "DATABASE_URL"
_DJANGO = "DJANGO_SETTINGS_MODULE"


def environment(role: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return what a program of this role finds. variables: of Site. SettingError when its secret is not
    there.
    """
    repo = str(inner.REPO)
    found = {
        **variables,
        inner.PROGRAM.name: role,
        "PYTHONPATH": repo,
        "PATH": f"{repo}/.venv/bin:{variables.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        # Threads that wait: an arena of memory for each would hold little in tens of megabytes.
        "MALLOC_ARENA_MAX": "2",
        _DJANGO: "controlplane.settings.base",
    }
    if role == "plain":
        hidden = (inner.BROKER_URL.name, inner.AGENT_TOKEN_FILE.name)
        return _without(found, _DATABASE_URL, _DJANGO, inner.SECRETS_DIR.name, *hidden)
    name = _AGENTS[role].of(found) if role in _AGENTS else ""
    found[inner.BROKER_URL.name] = _broker_url(role, name, found)
    secrets = inner.SECRETS_DIR.of(found)
    if name:
        found[inner.AGENT_TOKEN_FILE.name] = str(secrets / f"{role}-{name}-token")
        return _without(found, _DATABASE_URL, _DJANGO, inner.SECRETS_DIR.name)
    if role == "depot":
        found[inner.DEPOT_CERT.name] = str(secrets / "depot.crt")
        found[inner.DEPOT_KEY.name] = str(secrets / "depot.key")
        found[inner.DEPOT_BIND.name] = inner.DEPOT_BIND.text(found)
    own = f"postgres://stoa@/stoa?host={inner.PG_SOCKET.text(found)}"
    found[_DATABASE_URL] = inner.DATABASE.text(found) or own
    return found


def _broker_url(role: str, name: str, environ: Mapping[str, str]) -> str:
    """Return the broker's address: TLS where hosts come from other machines (deploy/run-redis)."""
    user, secret = (
        (f"{role}.{name}", f"{role}-{name}-broker") if name else ("control", "redis-control")
    )
    file = inner.SECRETS_DIR.of(environ) / secret
    url = f"://{user}:{_secret(file)}@{inner.BROKER_ADDRESS.text(environ)}/0"
    if not common.POOL_ADDRESS.text(environ):
        return f"redis{url}"
    tls = f"ssl_cert_reqs=required&ssl_ca_certs={inner.CONTROL_CA.text(environ)}"
    return f"rediss{url}?{tls}"


def _secret(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingError(
            f"cannot read {file}",
            "run bin/up first (it makes the secrets), and this as root",
            name=inner.SECRETS_DIR.name,
        ) from error


def _without(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}
