"""`stoa control backup|restore|unknown|thaw`: database and secrets of this machine's control plane."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from controlplane.cli import output
from controlplane.cli.errors import CONFLICT, USAGE, CliError
from controlplane.cli.options import Yes

app = typer.Typer(
    help="Back up and restore the control plane. Runs on its own machine, as root.\n\n"
    "A backup holds the record and the secrets (keys, tokens, the pool's CA), not the shops' data: that is in"
    " the snapshot repository.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_REPO = Path(__file__).resolve().parent.parent.parent

Passphrase = Annotated[
    str,
    typer.Option(
        help="a file that holds the passphrase of the secrets; - for stdin; asked for without it"
    ),
]


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="where to; with --to-repository its name there")],
    to_repository: Annotated[
        bool, typer.Option("--to-repository", help="keep it in the snapshot repository")
    ] = False,
    passphrase_file: Passphrase = "",
) -> None:
    """Back up the database and the secrets into one file, while everything runs.

    The file is whole or not there at all, and is read back before the command succeeds. Keep the passphrase
    elsewhere: without it nothing can be restored.
    """
    from controlplane.cli.secrets import read_secret

    _check_name(file, to_repository)
    secret = read_secret("passphrase for the secrets", passphrase_file)
    with NamedTemporaryFile("w", prefix="stoa-passphrase-") as kept:
        kept.write(secret)
        kept.flush()
        argv = ["control_backup", str(file if to_repository else Path(file).absolute())]
        argv += ["--passphrase-file", kept.name]
        _manage(*argv, *(["--to-repository"] if to_repository else []))


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="a file that `stoa control backup` wrote")],
    passphrase_file: Passphrase = "",
    yes: Yes = False,
) -> None:
    """Replace this machine's database and secrets by a backup. Run bin/down first, bin/up afterwards.

    The restored control plane starts frozen: it places, moves, stops and deletes nothing until `stoa
    control thaw`. The older database and secrets are kept beside it. On an empty machine run
    bin/up and bin/down once before.
    """
    from controlplane.backup import archive
    from controlplane.backup import restore as steps
    from controlplane.cli.secrets import read_secret

    if os.geteuid() != 0:
        raise CliError("a restore changes owners of files; run it as root", code=USAGE)
    try:
        site = steps.RestoreSite.of_this_machine()
        folder = steps.new_folder(site.var)
        try:
            output.note("reading the backup")
            manifest, sealed = archive.read(Path(file), folder / archive.RECORD)
            steps.check_version(manifest)
            kept = archive.unseal(sealed, read_secret("passphrase of the secrets", passphrase_file))
            output.confirm(
                manifest.scope,
                f"this replaces the record and the secrets in {site.var} by those of {manifest.made_at}"
                f" ({manifest.console})",
                yes=yes,
            )
            steps.carry_out(site, folder, manifest, kept, say=output.note)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except archive.BackupError as error:
        raise CliError(str(error), code=CONFLICT if "runs; stop" in str(error) else 1) from error
    typer.echo("restored. Start it with bin/up: it is frozen until `stoa control thaw`")


@app.command()
def unknown() -> None:
    """List what hosts run that a restored database does not know."""
    _manage("control_thaw", "--look")


@app.command()
def thaw(yes: Yes = False) -> None:
    """Resume the work that a restore froze.

    From then on reconcile starts what is missing. Instances that the database has never known keep running,
    with an alarm. Look at them (python -m runtime ps), and end them or sign the shop up again.
    """
    _manage("control_thaw", "--look")
    output.confirm("thaw", "placements, moves, copies and reconcile go on by this record", yes=yes)
    _manage("control_thaw")


def _check_name(file: str, to_repository: bool) -> None:
    if to_repository and (not file or "/" in file or file.startswith(".")):
        raise CliError(f"FILE is {file!r}; in the repository it is a plain name", code=USAGE)
    if not to_repository and not Path(file).absolute().parent.is_dir():
        raise CliError(f"{Path(file).absolute().parent} is no directory; make it first", code=USAGE)


def _manage(*argv: str) -> None:
    done = subprocess.run([_REPO / "bin" / "stoa-env", "manage.py", *argv], check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
