"""What the control plane proves itself by, and where it keeps copies; agents' own are made by bootstrap."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from installer import secret_files
from installer.commands import succeeds
from installer.installation import Installation
from installer.machine import virtualenv
from installer.progress import InstallError
from settings import common, control, inner

_USER = "stoa"
_NAMES = ("django-secret-key", "fernet-key", "redis-control")
_MARK = ".stoa-repository"


def choose_user(of: Installation) -> None:
    """The control plane needs no root: it becomes the system user `stoa`, where that user can read the
    checkout (below /root it cannot).
    """
    try:
        pwd.getpwnam(_USER)
    except KeyError:
        home = ("--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin")
        subprocess.run(["useradd", "--system", "--user-group", *home, _USER], check=True)
    if succeeds(
        *("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--", "sh", "-c"),
        'test -r "$1/manage.py" -a -r "$1/controlplane/celery.py" -a -x "$2" && "$3" -c "import django"',
        *("sh", str(inner.REPO), str(of.var), str(virtualenv.PYTHON)),
    ):
        of.run_as(_USER)
        return
    if of.text(inner.RUN_AS) != "root" or not of.saved_settings.exists():
        of.say.note(
            f"ordinary users cannot read {inner.REPO}, so web and workers run as root; in /opt or"
            " /srv they would not"
        )
    of.run_as("root")


def make(of: Installation) -> set[str]:
    """Make the secrets that are missing and give all to their owner; the certificates that are new."""
    user, folder = of.text(inner.RUN_AS), inner.SECRETS_DIR.of(of.environ)
    ensure_folder(folder, 0o750, "root", user)
    hook = ["alarm-webhook-key"] if control.ALARM_WEBHOOK.text(of.environ) else []
    for name in (*_NAMES, *hook):
        secret_files.ensure(folder / name, owner=user)
    if "@" in control.SMTP_URL.text(of.environ):
        _share(folder / "smtp-password", user)
    ensure_folder(of.var / "outbox", 0o700, user, None)
    _make_repository(of, user)
    return _make_certificates(of, user)


def ensure_folder(path: Path, mode: int, owner: str, group: str | None) -> None:
    """Make the directory if there is none, and give it away."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    path.chmod(mode)
    shutil.chown(path, owner, group)


def _share(file: Path, user: str) -> None:
    shutil.chown(file, "root", user)
    file.chmod(0o640)


def _make_repository(of: Installation, user: str) -> None:
    """Where copies of shops' data go: a directory that the control plane reads, or a store by its keys."""
    place = control.SNAPSHOTS.text(of.environ)
    if not place.startswith("s3://"):
        _mark_repository(Path(place), of.var / "run/repository", user)
        return
    for name in ("s3-access-key", "s3-secret-key"):
        file = inner.SECRETS_DIR.of(of.environ) / name
        if not secret_files.read(file):
            raise InstallError(
                f"{control.SNAPSHOTS.name} is {place} and {file} is not there",
                "write the store's key into it",
            )
        _share(file, user)


def _mark_repository(place: Path, known: Path, user: str) -> None:
    """A mark tells the repository from the empty directory it is mounted on
    (tenants/snapshots/repositories/directory.py).
    """
    mark = place / _MARK
    if not mark.exists() and secret_files.read(known) == str(place):
        raise InstallError(
            f"{place} was the repository of snapshots, and there is no {_MARK} in it now",
            f"mount what holds it; or, when it is to be a new one, remove {known}",
        )
    ensure_folder(place, 0o700, user, None)
    mark.touch()
    known.write_text(str(place))


def _make_certificates(of: Installation, user: str) -> set[str]:
    """Make the pool's own CA, and what it signs for depot and broker; renew them well before they run out."""
    pool = common.POOL_ADDRESS.text(of.environ)
    names = [name for name in common.POOL_NAMES.text(of.environ).split(",") if name]
    places = ["127.0.0.1", "localhost", *([pool] if pool else []), *names]
    program = [str(virtualenv.PYTHON), "-m", "controlplane.secrets.pool_ca"]
    owners = [f"depot={user}", "redis=redis"]
    folder = inner.SECRETS_DIR.text(of.environ)
    environ = {**os.environ, "PYTHONPATH": str(inner.REPO)}
    argv = [*program, folder, *owners, "--for", *places]
    done = subprocess.run(argv, env=environ, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InstallError("the pool's certificates could not be made", "see above")
    return set(done.stdout.split())
