"""`stoa alarm …`: what an operator must look at, and a test of how it is told."""

import time
from typing import Annotated, Any

import typer

from controlplane.cli import output
from controlplane.cli.api import api
from controlplane.cli.errors import CliError

app = typer.Typer(help="What must be looked at.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="one JSON document instead of a table")]
_PAUSE = 1.0


@app.command("list")
def list_(json: Json = False) -> None:
    """Open alarms, newest first; on stderr where alarms are told and what could not be delivered yet."""
    found = api().get("alarms")
    if json:
        output.as_json(found)
        return
    rows = [(row["since"][:19], row["key"], row["message"]) for row in found["results"]]
    output.table(("SINCE", "ALARM", ""), rows, empty="no alarm is open")
    output.note(f"told by {' and '.join(found['channels'])}")
    for notice in found["notices"]:
        if notice["sent_at"] is None and notice["error"]:
            output.note(
                f"  not told yet by {notice['channel']}: {notice['key']} ({notice['error']})"
            )


@app.command("test")
def tell_a_test(
    seconds: Annotated[float, typer.Option(help="how long to wait for the channels")] = 60.0,
) -> None:
    """Have every channel told that this is a test, and wait until each has taken it."""
    client = api()
    key = client.call("POST", "alarms/test")["key"]
    deadline = time.monotonic() + seconds
    while True:
        sent = [row for row in client.get("alarms")["notices"] if row["key"] == key]
        left = [row for row in sent if row["sent_at"] is None]
        if sent and not left:
            break
        if time.monotonic() > deadline or any(row["error"] for row in left):
            raise CliError("; ".join(_trouble(row) for row in left) or "no notice was written")
        time.sleep(_PAUSE)
    for row in sent:
        typer.echo(f"{row['channel']}: taken")


def _trouble(row: dict[str, Any]) -> str:
    why = row["error"] or "it was not tried yet; do beat and sweep run?"
    return f"{row['channel']} has not taken it: {why}"
