"""`stoa pool …`: all hosts together."""

from typing import Annotated, Any

import typer

from controlplane.cli import output
from controlplane.cli.api import api

app = typer.Typer(help="All hosts together.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="one JSON document instead of a table")]
_KINDS = {
    "cpu_millis": ("processor cores", output.cores),
    "memory_bytes": ("memory", output.amount),
    "disk_bytes": ("disk", output.amount),
}


@app.callback()
def pool() -> None:
    """All hosts together."""


@app.command()
def status(json: Json = False) -> None:
    """How many hosts there are, what they offer, and how much of it is booked and used."""
    rows = api().get("hosts")["results"]
    found = {
        "hosts": len(rows),
        "open": sum(row["state"] == "open" for row in rows),
        "heard": sum(row["is_heard"] for row in rows),
        "shops": sum(row["instances"] for row in rows),
        **{kind: _sum(rows, kind) for kind in _KINDS},
    }
    if json:
        output.as_json(found)
        return
    typer.echo(
        f"{found['hosts']} hosts, {found['open']} open, {found['heard']} heard; {found['shops']} shops"
    )
    output.table(
        ("", "OFFERED", "BOOKED", "MEASURED", "FREE"),
        [
            (
                label,
                write(found[kind]["offered"]),
                write(found[kind]["booked"]),
                write(found[kind]["measured"]),
                write(found[kind]["offered"] - found[kind]["booked"]),
            )
            for kind, (label, write) in _KINDS.items()
        ],
        empty="",
    )


def _sum(rows: list[dict[str, Any]], kind: str) -> dict[str, int]:
    return {
        "offered": sum(row[kind]["capacity"] - row[kind]["reserve"] for row in rows),
        "booked": sum(row[kind]["booked"] for row in rows),
        "measured": sum(row[kind]["measured"] or 0 for row in rows),
    }
