"""`manage.py control_backup FILE`: writes database and secrets into one file (`stoa control backup`)."""

import subprocess
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from controlplane.backup import archive
from tenants.snapshots import repositories
from tenants.snapshots.repositories import RepositoryError

# Beside the secrets: what bin/up made for people, and its settings.
_BESIDE = ("operator-login", "operator-token", "settings")
DUMP_SECONDS = 4 * 3600


class Command(BaseCommand):
    """Dumps the database at one moment while everything runs, adds the secrets, and checks the file."""

    help = "Write the record and the secrets to one file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """FILE, or a name in the snapshot repository."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--passphrase-file", type=Path, required=True)
        parser.add_argument("--to-repository", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the backup; CommandError."""
        path: Path = options["file"]
        try:
            passphrase = options["passphrase_file"].read_text().strip()
            with TemporaryDirectory(dir=settings.STOA_VAR / "run", prefix="backup-") as folder:
                record = Path(folder) / archive.RECORD
                target = Path(folder) / path.name if options["to_repository"] else path.absolute()
                sealed = archive.seal(archive.pack(_secrets()), passphrase)
                self.stdout.write("dumping the record")
                _dump(record)
                made = archive.write(target, _about(), record=record, sealed=sealed)
                self.stdout.write("reading it back")
                archive.read(target, Path(folder) / "check")
                if options["to_repository"]:
                    repositories.current().keep_file(path.name, target)
        except (archive.BackupError, RepositoryError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"the backup was not made: {error}") from error
        size = sum(made.sizes.values()) / 2**20
        where = f"{path.name} in the repository" if options["to_repository"] else str(path)
        self.stdout.write(f"{where}: {size:.1f} MiB, of {made.made_at}")


def _dump(to: Path) -> None:
    place = connection.settings_dict
    argv = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={to}"]
    argv += [f"--host={place['HOST']}", f"--username={place['USER']}", f"--dbname={place['NAME']}"]
    argv += [f"--port={place['PORT']}"] if place["PORT"] else []
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=DUMP_SECONDS)
    if done.returncode != 0:
        raise CommandError(f"pg_dump failed: {done.stderr.strip()[-500:]}")


def _secrets() -> dict[str, Path]:
    found = {
        f"secrets/{path.name}": path
        for path in settings.STOA_SECRETS_DIR.iterdir()
        if path.is_file()
    }
    beside = {name: settings.STOA_VAR / name for name in _BESIDE}
    return found | {name: path for name, path in beside.items() if path.exists()}


def _about() -> archive.BackupManifest:
    applied = MigrationRecorder(connection).applied_migrations()
    return archive.BackupManifest(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        scope=settings.STOA_SCOPE,
        domain=settings.STOA_DOMAIN,
        console=settings.STOA_CONSOLE_URL,
        migrations=tuple(sorted(f"{app}.{name}" for app, name in applied)),
    )
