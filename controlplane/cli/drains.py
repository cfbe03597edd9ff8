"""Prints the progress of `stoa host drain`."""

import time
from typing import Any

import typer

from controlplane.cli import output
from controlplane.cli.api import Api
from controlplane.cli.errors import CliError

_PAUSE = 1.0


def follow(client: Api, name: str, row: dict[str, Any], *, wait: bool, json: bool) -> None:
    """Print the drain; with wait, follow it to its end. Raises CliError when it was stopped."""
    shown = ""
    while True:
        line = _line(row)
        if not json and line != shown:
            output.note(shown := line)
        if not wait or row["state"] != "running":
            break
        time.sleep(_PAUSE)
        row = client.get(f"hosts/{name}/drain")
    if json:
        output.as_json(row)
        return
    for trouble in row["troubles"]:
        next_step = "" if trouble["is_retried"] else "; try its set-up again, or remove it"
        output.note(
            f"  {trouble['tenant']}: {trouble['message']} ({trouble['operation']}){next_step}"
        )
    if row["state"] == "done":
        held = row["longest_held_ms"]
        longest = f"; visitors of one shop waited {held} ms at most" if held is not None else ""
        typer.echo(f"{name} is empty after {row['seconds']:.0f} s{longest}")
    elif row["state"] == "cancelled":
        raise CliError(f"the emptying of {name} was stopped; {row['left']} shops stay")


def _line(row: dict[str, Any]) -> str:
    parts = [f"  {row['moved']} of {row['total']} moved", f"{len(row['under_way'])} under way"]
    if row["troubles"]:
        parts.append(f"{len(row['troubles'])} could not leave yet")
    if row["eta_seconds"] is not None and row["left"]:
        parts.append(f"about {row['eta_seconds']:.0f} s left")
    if row["state"] == "running" and not row["left"]:
        parts.append("waiting for its own report")
    return ", ".join(parts)
