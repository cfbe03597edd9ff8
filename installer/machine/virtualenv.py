"""The Python packages of requirements.lock, with hashes, in .venv; and the translations, compiled."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from installer.commands import logged, tail
from installer.progress import InstallError, Steps, complain
from runtime.system.files import open_lock
from settings.inner import REPO

_VENV = REPO / ".venv"
_LOCK = REPO / "requirements.lock"
# Folders with files of others.
_FOREIGN = frozenset({".venv", ".git", "node_modules", "var"})
PYTHON = _VENV / "bin/python"


def ensure(say: Steps) -> None:
    """Install what is not there; no-op while the list and the checkout's place are as they were."""
    if _is_current():
        return
    with _locked() as lock:
        if _is_current():
            return
        say("installing Python packages (requirements.lock)")
        # A link leads to another checkout's environment. To make it anew would clear that one.
        if _VENV.is_symlink():
            _VENV.unlink()
        if not os.access(PYTHON, os.X_OK) or not _is_of_this_place():
            _run([sys.executable, "-m", "venv", "--clear", str(_VENV)], lock, "make .venv")
        pip = ("pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
        argv = [str(PYTHON), "-m", *pip, "--require-hashes", "-r", str(_LOCK)]
        _run(argv, lock, "install requirements.lock")
        (_VENV / ".installed").write_text(_wanted())


def compile_languages() -> None:
    """Translations: .po files as people edit them → .mo files as programs read them."""
    for source in sorted(_sources()):
        compiled = source.with_suffix(".mo")
        if compiled.exists() and compiled.stat().st_mtime > source.stat().st_mtime:
            continue
        argv = ["msgfmt", "--check-format", "-o", str(compiled), str(source)]
        if subprocess.run(argv, check=False).returncode:
            raise InstallError(f"{source} has a mistake", "see above")


def _sources() -> Iterator[Path]:
    for top in (
        folder for folder in REPO.iterdir() if folder.is_dir() and folder.name not in _FOREIGN
    ):
        for found in top.rglob("LC_MESSAGES/*.po"):
            if not _FOREIGN.intersection(found.relative_to(REPO).parts):
                yield found


def _wanted() -> str:
    return f"{hashlib.sha256(_LOCK.read_bytes()).hexdigest()} {REPO}"


def _is_current() -> bool:
    stamp = _VENV / ".installed"
    try:
        return stamp.read_text() == _wanted() and os.access(PYTHON, os.X_OK)
    except OSError:
        return False


def _is_of_this_place() -> bool:
    """Return whether .venv was made here: its programs name their place in their first line."""
    try:
        with (_VENV / "bin/pip").open() as file:
            return file.readline().startswith(f"#!{_VENV}/bin/")
    except OSError:
        return False


@contextmanager
def _locked() -> Iterator[int]:
    folder = REPO / "var"
    folder.mkdir(exist_ok=True)
    fd = open_lock(folder / "venv.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _run(argv: list[str], lock: int, what: str) -> None:
    """The child keeps the lock when this process is killed: two must not write the same environment."""
    log = Path(tempfile.mkstemp(prefix="stoa-pip-")[1])
    try:
        environ = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        if logged(argv, log, env=environ, keep=(lock,)):
            complain(tail(log, 20))
            raise InstallError(
                f"could not {what}", "see above; is a package index configured and reachable?"
            )
    finally:
        log.unlink(missing_ok=True)
