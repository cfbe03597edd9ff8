"""`stoa pool …`: all hosts together."""

import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli import output
from controlplane.cli.api import api
from controlplane.cli.options import Json
from runtime.units import bytes_text, cores_text

app = typer.Typer(help="All hosts together.", no_args_is_help=True, rich_markup_mode=None)

REPO = Path(__file__).resolve().parents[2]
_KINDS = {
    "cpu_millis": ("processor cores", cores_text),
    "memory_bytes": ("memory", bytes_text),
    "disk_bytes": ("disk", bytes_text),
}


@app.command()
def status(json: Json = False) -> None:
    """Show how many hosts there are, what they offer, and how much of it is booked and used."""
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


@app.command()
def forecast(json: Json = False) -> None:
    """Show how many hosts are needed now and in 30 days, by what shops really use."""
    found = api().get("pool/forecast")
    if json:
        output.as_json(found)
        return
    output.facts(
        [
            ("hosts now", f"{found['hosts']}, {found['open_hosts']} open"),
            ("shops", found["instances"]),
            ("hosts needed now", found["hosts_needed"]),
            ("in 30 days", found["hosts_in_30_days"] or "not enough days seen yet"),
            ("scarcest", found["scarcest"]),
            ("worked out", found["at"]),
        ]
    )


@app.command("what-if")
def what_if(
    add_tenants: Annotated[int, typer.Option(min=0, help="number of new shops")] = 0,
    plan: Annotated[str, typer.Option(help="plan of the new shops")] = "",
    remove_host: Annotated[
        list[str] | None, typer.Option(help="a host to leave out; repeatable")
    ] = None,
    host_size: Annotated[
        str, typer.Option(help="CORES,GIB,GIB that hosts to be added offer; else the usual size")
    ] = "",
    json: Json = False,
) -> None:
    """Show where new shops, or those of hosts that would be gone, would be placed. Runs on the control
    plane.

    It uses the code that places shops, and writes nothing.
    """
    words = ["--add-tenants", str(add_tenants)]
    for option, value in (("--plan", plan), ("--host-size", host_size)):
        words += [option, value] if value else []
    for name in remove_host or []:
        words += ["--remove-host", name]
    words += ["--json"] if json else []
    program = REPO / "bin/stoa-env"
    done = subprocess.run([str(program), "manage.py", "what_if", *words], check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)


def _sum(rows: list[dict[str, Any]], kind: str) -> dict[str, int]:
    return {
        "offered": sum(row[kind]["capacity"] - row[kind]["reserve"] for row in rows),
        "booked": sum(row[kind]["booked"] for row in rows),
        "measured": sum(row[kind]["measured"] or 0 for row in rows),
    }
