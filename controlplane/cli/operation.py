"""`stoa operation …`: shows and follows operations."""

import time
from typing import Annotated, Any

import typer

from controlplane.cli import output
from controlplane.cli.api import Api, api
from controlplane.cli.errors import CliError

app = typer.Typer(help="Operations on shops.", no_args_is_help=True, rich_markup_mode=None)

ENDED = frozenset({"succeeded", "failed", "cancelled"})
_PAUSE = 0.4

Id = Annotated[str, typer.Argument(metavar="OPERATION", help="op_…")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document at its end")]


@app.command()
def show(operation_id: Id, json: Json = False) -> None:
    """Show the progress of an operation."""
    report(api(), operation_id, wait=False, json=json)


@app.command()
def follow(operation_id: Id, json: Json = False) -> None:
    """Print each step as it is done. Exits with 0 when the operation succeeds, else with 1."""
    report(api(), operation_id, wait=True, json=json)


def report(client: Api, operation_id: str, *, wait: bool, json: bool) -> None:
    """Print an operation; with wait, follow it to its end. Raises CliError when it did not succeed."""
    shown: set[str] = set()
    waits = ""
    while True:
        row = client.get(f"operations/{operation_id}")
        if not json:
            _print_steps(row, shown)
            if (now := _waiting(row)) != waits and now:
                output.note(now)
            waits = now
        if not wait or row["state"] in ENDED:
            break
        time.sleep(_PAUSE)
    if json:
        output.as_json(row)
    else:
        seconds = f" after {row['seconds']:.1f} s" if row["seconds"] is not None else ""
        typer.echo(f"{row['verb']} {row['tenant']}: {row['state']}{seconds} ({row['id']})")
    if row["state"] in {"failed", "cancelled"}:
        error = row["error"] or {}
        raise CliError(str(error.get("message") or f"the operation is {row['state']}"))


def _waiting(row: dict[str, Any]) -> str:
    """Return what the operation waits for, as a line; "" when it does not wait."""
    waiting = row.get("waiting")
    if not waiting:
        return ""
    if waiting["for"] != "a_slot":
        return f"  waits: {waiting['told'] or waiting['for']}"
    seconds = "" if waiting["seconds"] is None else f", about {waiting['seconds']} s"
    return f"  waits in line: {waiting['ahead']} before it{seconds}"


def _print_steps(row: dict[str, Any], shown: set[str]) -> None:
    for step in row["steps"]:
        if step["state"] in {"done", "failed"} and step["name"] not in shown:
            shown.add(step["name"])
            seconds = "" if step["seconds"] is None else f"{step['seconds']:6.2f} s"
            detail = f"  {step['detail']}" if step["detail"] else ""
            output.note(f"  {seconds:>8}  {step['name']}{detail}")
