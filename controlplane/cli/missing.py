"""`stoa tenants data`: shows whether a shop's data is missing, and chooses what to do."""

from typing import Annotated

import typer

from controlplane.cli import operation, output
from controlplane.cli.api import api
from controlplane.cli.errors import USAGE, CliError
from controlplane.cli.options import Json, Slug, Wait, Yes
from runtime.units import bytes_text


def data(
    slug: Slug,
    look: Annotated[
        bool, typer.Option("--look-again", help="start it if its data is back")
    ] = False,
    newest: Annotated[
        bool, typer.Option("--newest", help="continue from the newest good copy")
    ] = False,
    copy: Annotated[
        str, typer.Option("--copy", metavar="SNAPSHOT", help="continue from this copy")
    ] = "",
    empty: Annotated[
        bool, typer.Option("--begin-empty", help="begin empty; its data is given up")
    ] = False,
    yes: Yes = False,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Show whether a shop's data is missing, and choose what it continues from."""
    chosen = [name for name, on in _named(look, newest, copy, empty) if on]
    if len(chosen) > 1:
        raise CliError("choose one of --look-again, --newest, --copy, --begin-empty", code=USAGE)
    client = api()
    if not chosen:
        _show(client.get(f"tenants/{slug}/data"), slug, json=json)
        return
    body = {"choice": chosen[0], "snapshot": copy}
    if empty:
        output.confirm(slug, f"{slug} begins empty; its data is given up", yes=yes)
        body["confirm"] = slug
    elif newest or copy:
        output.confirm(slug, f"{slug} continues from a copy; newer orders are lost", yes=yes)
    done = client.call("POST", f"tenants/{slug}/data", body)
    operation.report(client, done["operation"]["id"], wait=wait, json=json)


def _named(look: bool, newest: bool, copy: str, empty: bool) -> list[tuple[str, bool]]:
    return [("wait", look), ("newest", newest), ("copy", bool(copy)), ("empty", empty)]


def _show(found: dict[str, object], slug: str, *, json: bool) -> None:
    if json:
        output.as_json(found)
        return
    if not found["is_missing"]:
        typer.echo(f"the data of {slug} is where it should be")
        return
    word = "is waited for" if found["is_waiting"] else "is missing"
    typer.echo(f"the data of {slug} {word} since {str(found['since'])[:19].replace('T', ' ')} UTC")
    typer.echo(f"  {found['reason']}")
    copies = found["copies"]
    output.table(
        ("COPY", "UP TO", "DATA", "FILES"),
        [
            (
                row["id"],
                row["taken_at"][:19].replace("T", " "),
                bytes_text(row["volume_bytes"]),
                str(row["files"]),
            )
            for row in (copies if isinstance(copies, list) else [])
        ],
        empty="no good copy is kept",
    )
    output.note("choose: --look-again, --newest, --copy SNAPSHOT, --begin-empty")
