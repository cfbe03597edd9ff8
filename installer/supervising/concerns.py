"""What bin/up has to do anew: for each program and each step, the settings and files that it was made from.

The fingerprints of what runs lie in VAR/run/made. What was cut short has the old one and is done again.
"""

from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from installer import secret_files
from settings import inner
from settings.inner import REPO
from settings.setting import Reader
from settings.table import KEPT

# Where every program gets its settings and packages from.
_START = ("bin/stoa-env", "settings/", "requirements.lock")
_CONTROL = ("controlplane/", "tenants/", "workers/", "runtime/", "locale/", *_START)
_WORKER = (
    "workers/__init__.py",
    "workers/broker/__init__.py",
    "workers/broker/queues.py",
    "workers/broker/transport.py",
    "workers/agents/",
)


def _read_by(*readers: Reader) -> tuple[str, ...]:
    return tuple(setting.name for setting in KEPT if setting.readers.intersection(readers))


_OF_CONTROL = (*_read_by(Reader.CONTROL), inner.RUN_AS.name)


@dataclass(frozen=True, slots=True)
class Concern:
    """What a program or step of bin/up is made from. how: what brings a change to it.

    - step: bin/up does it again
    - restart: it ends and starts; callers wait meanwhile, or ask again
    - takeover: it executes itself with its open sockets (controlplane/serving/takeover.py)
    - execute: it executes itself with its children (runtime/keeper/renewing/upgrade.py)

    settings: names. files: patterns of names; one that ends in / means all below it.
    """

    how: str
    settings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    but_files: tuple[str, ...] = ()


CONCERNS: dict[str, Concern] = {
    # Steps, in their order.
    "images": Concern("step", (), ("images/",)),
    "tables": Concern("step", (), ("controlplane/", "tenants/", "requirements.lock")),
    "static": Concern("step", (), ("controlplane/", "tenants/", "requirements.lock")),
    "record": Concern(
        "step", (*_OF_CONTROL, *_read_by(Reader.BIN)), ("images/", "installer/", *_CONTROL)
    ),
    # Programs, in the order in which they are brought up to date. HAProxy is none of them: its agent
    # reloads it when what it reads has changed (runtime/edge/install.py).
    "postgres": Concern("restart", (), ("deploy/run-postgres",)),
    "redis": Concern("restart", _read_by(Reader.REDIS), ("deploy/run-redis",)),
    "keeper": Concern(
        "execute",
        _read_by(Reader.KEEPER),
        ("runtime/", "settings/", "bin/stoa-env"),
        but_files=("runtime/edge/", "runtime/cli/"),
    ),
    "depot": Concern("takeover", _OF_CONTROL, _CONTROL),
    "web": Concern("takeover", _OF_CONTROL, _CONTROL),
    "events": Concern("takeover", _OF_CONTROL, _CONTROL),
    "host-agent": Concern(
        "restart",
        _read_by(Reader.HOST),
        ("runtime/", *_WORKER, *_START),
        but_files=("runtime/edge/", "runtime/cli/", "workers/agents/edge/"),
    ),
    "edge-agent": Concern(
        "restart",
        _read_by(Reader.EDGE),
        ("runtime/", *_WORKER, *_START),
        but_files=(
            *("runtime/bundle/", "runtime/cgroup/", "runtime/cli/", "runtime/crun/"),
            *("runtime/disk/", "runtime/image/", "runtime/keeper/", "runtime/network/"),
            *("runtime/rootfs/", "runtime/volume/", "workers/agents/host/"),
        ),
    ),
    "control": Concern("restart", _OF_CONTROL, _CONTROL),
    "sweep": Concern("restart", _OF_CONTROL, _CONTROL),
    "beat": Concern("restart", _OF_CONTROL, _CONTROL),
}
PROGRAMS = tuple(name for name, concern in CONCERNS.items() if concern.how != "step")
# Whose line in the supervisor's configuration can change without its being started anew.
_OWN_LINE = frozenset(PROGRAMS) - {"postgres", "redis", "keeper"}


def is_of(concern: Concern, path: str) -> bool:
    """Return whether the program or step is made from this file of the repository."""
    return _matches(path, concern.files) and not _matches(path, concern.but_files)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(
        path.startswith(pattern) if pattern.endswith("/") else fnmatchcase(path, pattern)
        for pattern in patterns
    )


def fingerprints(environ: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 over settings and files of each concern."""
    files = {path: sha256((REPO / path).read_bytes()).hexdigest() for path in _files()}
    found = {}
    for name, concern in CONCERNS.items():
        lines = [f"{name}={environ.get(name, '')}" for name in sorted(concern.settings)]
        lines += [f"{path} {content}" for path, content in files.items() if is_of(concern, path)]
        if name in _OWN_LINE:
            lines.append(repr(_section(name)))
        found[name] = sha256("\n".join(lines).encode()).hexdigest()
    return found


def _files() -> Iterator[str]:
    """Yield every file that a concern may name, in order, without what Python and people leave behind."""
    folders = sorted(
        {pattern.split("/")[0] for made in CONCERNS.values() for pattern in made.files}
    )
    for folder in folders:
        place = REPO / folder
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            name = path.relative_to(REPO).as_posix()
            kept = path.suffix not in {".pyc", ".mo"} and "node_modules" not in name
            if kept and path.is_file() and not path.is_symlink():
                yield name


def _section(program: str) -> list[tuple[str, str]]:
    template = RawConfigParser(strict=False, allow_no_value=True)
    template.read(REPO / "deploy/supervisord.conf.in")
    section = f"program:{program}"
    return template.items(section) if template.has_section(section) else []


def due(var: Path, now: Mapping[str, str]) -> dict[str, str]:
    """Return what was made from other settings or files → how it takes up those of now. now: fingerprints."""
    return {
        name: concern.how
        for name, concern in CONCERNS.items()
        if secret_files.read(var / "run/made" / name) != now[name]
    }


def note(var: Path, now: Mapping[str, str], *names: str) -> None:
    """Write down what these are made from; HAProxy is left out, see above."""
    made = var / "run/made"
    made.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in names:
        if name in now:
            (made / name).write_text(now[name])
