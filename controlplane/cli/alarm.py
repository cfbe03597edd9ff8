"""`stoa alarm …`: lists open alarms and sends a test alarm."""

import time
from typing import Annotated, Any

import typer

from controlplane.cli import output
from controlplane.cli.api import api
from controlplane.cli.errors import CliError
from controlplane.cli.options import Json

app = typer.Typer(
    help="Open alarms, and a test alarm.", no_args_is_help=True, rich_markup_mode=None
)

_PAUSE = 1.0


@app.command("list")
def list_(json: Json = False) -> None:
    """List open alarms, newest first.

    On stderr: what to do about them, where alarms are sent, and what is not delivered.
    """
    found = api().get("alarms")
    if json:
        output.as_json(found)
        return
    rows = [
        (row["since"][:19], row["severity"], row["key"], row["message"]) for row in found["results"]
    ]
    output.table(("SINCE", "SEVERITY", "ALARM", ""), rows, empty="no alarm is open")
    for kind, remedy in {row["kind"]: row["remedy"] for row in found["results"]}.items():
        output.note(f"  {kind}: {remedy}")
    output.note(f"alarms are sent by {' and '.join(found['channels'])}")
    for notice in found["notices"]:
        if notice["sent_at"] is None and notice["error"]:
            output.note(
                f"  not sent yet by {notice['channel']}: {notice['key']} ({notice['error']})"
            )


@app.command("test")
def tell_a_test(
    seconds: Annotated[float, typer.Option(help="how long to wait for the channels")] = 60.0,
) -> None:
    """Send a test alarm to every channel, and wait until each has taken it."""
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
