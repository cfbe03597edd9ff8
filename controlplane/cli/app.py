"""The commands, and how they end: one clear line on stderr, and an exit code that says what kind it is."""

import sys
from typing import Annotated

import typer

from controlplane.cli import alarm, control, host, operation, pool, snapshots, tenants
from controlplane.cli.errors import CliError
from controlplane.joining.errors import JoiningError, UnfitError

app = typer.Typer(
    name="stoa",
    help="The pool, its hosts and its tenants.\n\n"
    "STOA_URL and STOA_TOKEN, or `stoa login`, say which control plane; on the control plane's own"
    " machine neither is needed. NO_COLOR is respected. Exit codes: 0 well, 1 failed, 2 not understood,"
    " 3 not there, 4 its state does not allow it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(alarm.app, name="alarm")
app.add_typer(host.app, name="host")
app.add_typer(pool.app, name="pool")
app.add_typer(tenants.app, name="tenants")
app.add_typer(operation.app, name="operation")
app.add_typer(snapshots.app, name="snapshots")
app.add_typer(control.app, name="control")


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="the console's address, https://…")],
    token_file: Annotated[
        str, typer.Option(help="a file with the API token; - for stdin; asked for without it")
    ] = "",
) -> None:
    """Remember a control plane and an API token (manage.py api_token create makes one)."""
    from controlplane.cli import config
    from controlplane.cli.api import Api
    from controlplane.cli.secrets import read_secret

    url = url.rstrip("/")
    token = read_secret("API token", token_file)
    Api(config.Access(url, token)).get("tenants", page_size="1")
    typer.echo(f"logged in to {url}; kept in {config.save(url, token)}")


def main() -> None:
    """Run one command."""
    try:
        app(prog_name="stoa")
    except CliError as error:
        sys.stderr.write(f"stoa: {error}\n")
        sys.exit(error.code)
    except UnfitError as error:
        sys.stderr.write(f"stoa: {error}; nothing was changed, the token is still good:\n")
        for reason in error.reasons:
            sys.stderr.write(f"  - {reason}\n")
        sys.exit(1)
    except JoiningError as error:
        sys.stderr.write(f"stoa: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)  # `… | head` has seen enough
    except KeyboardInterrupt:
        sys.exit(130)
