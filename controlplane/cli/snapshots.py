"""`stoa snapshots …`: lists and takes copies of shops' data, and restores one."""

from typing import Annotated, Any

import typer

from controlplane.cli import operation, output
from controlplane.cli.api import api
from controlplane.cli.options import Json, Slug, Wait, Yes
from runtime.units import bytes_text

app = typer.Typer(help="Copies of shops' data.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_snapshots(slug: Slug, json: Json = False) -> None:
    """List the kept copies of a shop's data, newest first."""
    found = api().get(f"tenants/{slug}/snapshots")
    if json:
        output.as_json(found)
        return
    output.table(
        ("ID", "UP TO", "WHY", "DATA", "ARCHIVE", "READ BACK", "REMARKS"),
        [
            (
                row["id"],
                row["taken_at"][:19].replace("T", " "),
                row["reason"],
                bytes_text(row["volume_bytes"]),
                bytes_text(row["archive_bytes"]),
                row["checked_at"][:19].replace("T", " "),
                _remarks(row),
            )
            for row in found["results"]
        ],
        empty="no copy is kept yet",
    )
    schedule = found["schedule"]
    due = schedule["due_at"][:19].replace("T", " ") if schedule["due_at"] else "not planned yet"
    output.note(f"every {schedule['period_minutes']} min; next: {due}")


def _remarks(row: dict[str, Any]) -> str:
    """Return what speaks against a copy: a doubt, and files that are not in it."""
    left_out = f"{row['skipped']} files left out" if row.get("skipped") else ""
    return ", ".join(part for part in (row.get("doubt", ""), left_out) if part)


@app.command()
def accept(slug: Slug, json: Json = False) -> None:
    """Confirm that a shop's data is right although its last copies are in doubt. Older copies may then be
    deleted.
    """
    answer = api().call("POST", f"tenants/{slug}/snapshots/accept")
    if json:
        output.as_json(answer)
    else:
        typer.echo(f"{answer['accepted']} copies of {slug} are no longer in doubt")


@app.command()
def take(slug: Slug, json: Json = False) -> None:
    """Take a copy now."""
    answer = api().call("POST", f"tenants/{slug}/snapshots")
    if json:
        output.as_json(answer)
    else:
        typer.echo(f"a copy of {slug} is on its way")


@app.command()
def restore(
    slug: Slug,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="snp_…, see list")],
    yes: Yes = False,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Restore a shop's data from a copy; the present data is copied first."""
    what = (
        f"this takes the data of {slug} back to {snapshot}; newer orders are lost. While a large"
        " copy is loaded, visitors see a page that asks them to come back"
    )
    output.confirm(slug, what, yes=yes)
    client = api()
    done = client.call("POST", f"tenants/{slug}/restore", {"snapshot": snapshot})
    operation.report(client, done["operation"]["id"], wait=wait, json=json)
