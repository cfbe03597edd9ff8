"""Puts a backup in the place of this Stoa's record and secrets, while none of its programs runs.

The record is loaded into a database of its own beside the one that is there, brought up to this version and
made safe to start from. Only then the names change, in one transaction; the older record stays under another
name. What fails before that changes nothing.
"""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
from psycopg2 import sql

from controlplane.backup import archive
from controlplane.backup.archive import BackupError, BackupManifest, Say
from settings import inner

REPO = Path(__file__).resolve().parent.parent.parent
_ENV = REPO / "bin" / "stoa-env"
_NEW = "stoa_restored"
START_SECONDS = 60.0
LOAD_SECONDS = 4 * 3600


@dataclass(frozen=True, slots=True)
class RestoreSite:
    """Where this Stoa keeps things, as bin/stoa-env says."""

    var: Path
    socket: str

    @classmethod
    def of_this_machine(cls) -> "RestoreSite":
        """Raises BackupError when another database is used, or programs still run."""
        environment = _run([_ENV, "--as", "plain", "env", "-0"], "reading the settings").split("\0")
        env = dict(line.split("=", 1) for line in environment if "=" in line)
        if inner.DATABASE.of(os.environ):
            raise BackupError(
                "STOA_DATABASE_URL is set: only a PostgreSQL of bin/up's own is restored"
            )
        site = cls(inner.VAR.of(env), inner.PG_SOCKET.of(env))
        site.refuse_running()
        return site

    def refuse_running(self) -> None:
        """BackupError while the supervisor or PostgreSQL of this Stoa runs."""
        pid = self.var / "run" / "supervisord.pid"
        with suppress(OSError, ValueError):
            command = Path(f"/proc/{int(pid.read_text())}/cmdline").read_bytes()
            if str(self.var).encode() in command:
                raise BackupError("this Stoa runs; stop it first: bin/down")
        with suppress(psycopg2.OperationalError), closing(self.connect("postgres")):
            raise BackupError("PostgreSQL of this Stoa runs; stop it first: bin/down")

    def connect(self, database: str) -> "psycopg2.extensions.connection":
        """Return a session in which each statement stands for itself."""
        made = psycopg2.connect(host=self.socket, user="stoa", dbname=database, connect_timeout=3)
        made.autocommit = True
        return made


def check_version(manifest: BackupManifest) -> None:
    """BackupError when the backup's record is from a newer Stoa than this one."""
    known = {
        f"tenants.{migration.stem}"
        for migration in (REPO / "tenants" / "migrations").glob("[0-9]*.py")
    }
    newer = sorted({name for name in manifest.migrations if name.startswith("tenants.")} - known)
    if newer:
        raise BackupError(
            f"the backup is of a newer Stoa: this one does not know {newer[0]}; update it first"
        )


def carry_out(
    site: RestoreSite, folder: Path, manifest: BackupManifest, kept: bytes, *, say: Say
) -> None:
    """Restore what was read into `folder` (archive.RECORD) and unsealed. BackupError."""
    site.refuse_running()
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    fresh = site.var / f"restored-{stamp}"
    archive.unpack(kept, fresh)
    is_empty = not (site.var / "secrets").exists()
    if is_empty:
        _put_secrets(site, fresh, stamp)  # nothing is lost, and commands need them
    with _postgres(site, say):
        try:
            say("loading the record")
            _load(site, folder / archive.RECORD)
            say("bringing it up to this version, raising its numbers, freezing it")
            url = f"postgres://stoa@/{_NEW}?host={site.socket}"
            _manage(url, "migrate", "--no-input")
            _manage(url, "control_settle", "--made-at", manifest.made_at)
        except BaseException:
            _drop(site, _NEW)
            raise
        if not is_empty:
            _put_secrets(site, fresh, stamp)
        _swap_names(site, stamp)
    say("in place; the older record and secrets are kept beside it")


def _put_secrets(site: RestoreSite, fresh: Path, stamp: str) -> None:
    """Change the secrets' directory and the files beside it; the older ones stay under another name."""
    place = site.var / "secrets"
    if place.exists():
        # The store's credentials are this machine's own where the backup has none.
        place.rename(site.var / f"secrets-before-{stamp}")
    (fresh / "secrets").chmod(0o750)
    (fresh / "secrets").rename(place)
    for name in ("operator-login", "operator-token"):
        if (fresh / name).exists():
            (fresh / name).replace(site.var / name)
    if (fresh / "settings").exists() and not (site.var / "settings").exists():
        (fresh / "settings").replace(site.var / "settings")
    (fresh / "settings").unlink(missing_ok=True)
    fresh.rmdir()


@contextmanager
def _postgres(site: RestoreSite, say: Say) -> Iterator[None]:
    """This Stoa's PostgreSQL, made if it is not there, running as long as the block."""
    run = [str(_ENV), "--as", "plain", str(REPO / "deploy" / "run-postgres")]
    if not (site.var / "postgres" / "data" / "PG_VERSION").exists():
        say("making a PostgreSQL")
        _run([*run, "init"], "making a PostgreSQL")
    say("starting PostgreSQL alone")
    log = site.var / "logs"
    log.mkdir(parents=True, exist_ok=True)
    with (log / "restore-postgres.log").open("ab") as output:
        server = subprocess.Popen(run, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(psycopg2.OperationalError), closing(site.connect("postgres")):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise BackupError(f"PostgreSQL does not start; see {log}/restore-postgres.log")
            time.sleep(0.2)
        yield
    finally:
        server.send_signal(2)  # INT: at once, and in order
        server.wait(START_SECONDS)


def _load(site: RestoreSite, record: Path) -> None:
    _drop(site, _NEW)
    with closing(site.connect("postgres")) as session, session.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_NEW)))
    argv = [
        "pg_restore",
        "--no-owner",
        "--no-privileges",
        "--exit-on-error",
        "--single-transaction",
    ]
    argv += [f"--host={site.socket}", "--username=stoa", f"--dbname={_NEW}", str(record)]
    _run(argv, "loading the record", seconds=LOAD_SECONDS)


def _swap_names(site: RestoreSite, stamp: str) -> None:
    with closing(site.connect("postgres")) as session, session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = 'stoa'")
        names = [("stoa", f"stoa_before_{stamp}")] if cursor.fetchone() else []
        cursor.execute("BEGIN")
        for old, new in [*names, (_NEW, "stoa")]:
            cursor.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(old), sql.Identifier(new)
                )
            )
        cursor.execute("COMMIT")


def _drop(site: RestoreSite, name: str) -> None:
    with suppress(psycopg2.Error), closing(site.connect("postgres")) as session:
        session.cursor().execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def _manage(url: str, *argv: str) -> None:
    command = [_ENV, "manage.py", *argv]
    _run(command, argv[0], env={inner.DATABASE.name: url}, seconds=LOAD_SECONDS)


def _run(
    argv: Sequence[object],
    what: str,
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> str:
    try:
        done = subprocess.run(
            [str(argument) for argument in argv],
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **(env or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackupError(f"{what}: {error}") from error
    if done.returncode != 0:
        raise BackupError(f"{what} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def new_folder(var: Path) -> Path:
    """Return a private directory for what is read out of a backup."""
    folder = var / "run" / f"restore-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True)
    return folder
