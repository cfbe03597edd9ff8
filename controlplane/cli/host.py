"""`stoa host …`: manages the pool's machines as an operator, and joins or leaves with this machine."""

from typing import Annotated, Any

import typer

from controlplane.cli import drains, host_machine, output
from controlplane.cli.api import Api, api
from controlplane.cli.errors import USAGE, CliError
from controlplane.cli.options import Json, Wait, Yes
from runtime.units import bytes_text, cores_text

app = typer.Typer(help="Machines of the pool.", no_args_is_help=True, rich_markup_mode=None)
token_app = typer.Typer(
    help="Tokens that let one machine join.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(token_app, name="token")
app.command("join")(host_machine.join)
app.command("leave")(host_machine.leave)
app.command("start")(host_machine.start)

Name = Annotated[str, typer.Argument(metavar="HOST", help="the host's name")]


@app.command("list")
def list_hosts(
    json: Json = False,
    zone: Annotated[str, typer.Option(help="only those of a zone")] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="only those with KEY=VALUE; repeatable")
    ] = None,
) -> None:
    """List hosts: state, age of the last report, capacity and what is booked."""
    wanted = _labels(label or [])
    rows = [
        row
        for row in api().get("hosts")["results"]
        if (not zone or row["zone"] == zone) and wanted.items() <= row["labels"].items()
    ]
    if json:
        output.as_json(rows)
        return
    head = ("NAME", "STATE", "SEEN", "ZONE", "SHOPS", "CPU", "MEMORY", "DISK", "LABELS")
    output.table(
        head,
        [
            (
                row["name"],
                row["state"],
                _seen(row),
                row["zone"],
                row["instances"],
                _booked(row["cpu_millis"], cores_text),
                _booked(row["memory_bytes"], bytes_text),
                _booked(row["disk_bytes"], bytes_text),
                row["labels"],
            )
            for row in rows
        ],
        empty="no hosts; add the first one: stoa host token create",
    )


def _seen(row: dict[str, Any]) -> str:
    """Return whether the host answers, or for how long it has not."""
    if row["health"] == "alive" and row["is_heard"]:
        return "now"
    age = row["age_seconds"]
    silent = "never" if age is None else f"{age:.0f} s ago"
    return silent if row["health"] == "alive" else f"{row['health']}, {silent}"


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show one host in full."""
    row = api().get(f"hosts/{name}")
    if json:
        output.as_json(row)
        return
    _show(row)


@app.command()
def cordon(name: Name) -> None:
    """Stop placing new shops on a host; running shops stay."""
    api().call("POST", f"hosts/{name}/cordon")
    typer.echo(f"{name}: no new shops will be placed there")


@app.command()
def uncordon(name: Name) -> None:
    """Place shops on a host again."""
    api().call("POST", f"hosts/{name}/uncordon")
    typer.echo(f"{name}: open")


@app.command()
def drain(
    name: Name,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Drain a host: move its shops to others while they run, and place no new ones there.

    Interrupting this command does not stop the drain; `stoa host undrain` does.
    """
    row = api().call("POST", f"hosts/{name}/drain")
    drains.follow(api(), name, row, wait=wait, json=json)


@app.command("drain-status")
def drain_status(name: Name, json: Json = False) -> None:
    """Show the progress of a drain."""
    drains.follow(api(), name, api().get(f"hosts/{name}/drain"), wait=False, json=json)


@app.command()
def undrain(name: Name) -> None:
    """Stop a drain. Shops that have moved stay where they are. A host that was open takes new shops again."""
    row = api().call("DELETE", f"hosts/{name}/drain")
    state = api().get(f"hosts/{name}")["state"]
    typer.echo(f"{name}: {state}; {row['moved']} shops had left, {row['left']} stay")


@app.command()
def remove(name: Name, yes: Yes = False) -> None:
    """Remove an empty host from the pool and revoke its credentials."""
    output.confirm(name, f"this takes {name} out of the pool", yes=yes)
    api().call("DELETE", f"hosts/{name}")
    typer.echo(f"{name} is out of the pool; on the machine: bin/stoa host leave")


@app.command()
def lost(name: Name, yes: Yes = False) -> None:
    """Declare an unreachable host lost, so that its shops start elsewhere now.

    They start from their last snapshots; what was written after those is lost. Without this command a host
    is declared lost after 15 s of silence in which no edge reaches it either.
    """
    row = api().get(f"hosts/{name}")
    what = f"this starts {row['instances']} shops of {name} elsewhere from their last snapshots"
    output.confirm(name, what, yes=yes)
    api().call("POST", f"hosts/{name}/lost", {"confirm": name})
    typer.echo(
        f"{name} is lost; stoa operation and the operator's pages show its shops coming back"
    )


@app.command()
def forget(name: Name, yes: Yes = False) -> None:
    """Remove a host that is lost for good, and revoke its credentials at once.

    Volumes on it are given up: its shops run elsewhere from their last snapshots.
    """
    row = api().get(f"hosts/{name}")
    output.confirm(
        name,
        f"this gives up {name} and whatever lies on its disk; it is {row['state']},"
        f" last seen {row['seen_at'] or 'never'}, and holds {row['instances']} shops",
        yes=yes,
    )
    api().call("POST", f"hosts/{name}/forget", {"confirm": name})
    typer.echo(f"{name} is forgotten; should it come back, it may do nothing")


@app.command()
def label(
    name: Name,
    labels: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE…", help="KEY=VALUE sets a label, KEY- removes it"),
    ],
) -> None:
    """Set or remove labels; the others stay."""
    client = api()
    kept: dict[str, str] = client.get(f"hosts/{name}")["labels"]
    gone = {label[:-1] for label in labels if label.endswith("-") and "=" not in label}
    kept |= _labels([label for label in labels if "=" in label or not label.endswith("-")])
    wanted = {key: value for key, value in kept.items() if key not in gone}
    _edit(client, name, {"labels": wanted})


@app.command("set")
def set_(
    name: Name,
    zone: Annotated[str | None, typer.Option(help="1 to 32 of a-z, 0-9 and -")] = None,
    engine: Annotated[str | None, typer.Option(help="crun")] = None,
    reserve_cpu_millis: Annotated[int | None, typer.Option(min=0)] = None,
    reserve_memory_bytes: Annotated[int | None, typer.Option(min=0)] = None,
    reserve_disk_bytes: Annotated[int | None, typer.Option(min=0)] = None,
) -> None:
    """Change zone, engine, or what is reserved for the host itself."""
    reserve = {
        "cpu_millis": reserve_cpu_millis,
        "memory_bytes": reserve_memory_bytes,
        "disk_bytes": reserve_disk_bytes,
    }
    given = {kind: value for kind, value in reserve.items() if value is not None}
    changes: dict[str, Any] = {"zone": zone, "engine": engine, "reserve": given or None}
    wanted = {what: value for what, value in changes.items() if value is not None}
    if not wanted:
        raise CliError("nothing to change; see stoa host set --help", code=USAGE)
    _edit(api(), name, wanted)


@token_app.command("create")
def create_token(
    zone: Annotated[str, typer.Option(help="the host's zone")] = "default",
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the host; repeatable")
    ] = None,
    ttl: Annotated[str, typer.Option(help="how long it works: 30m, 24h, 7d")] = "24h",
    json: Json = False,
) -> None:
    """Create a token for one machine and print the command to run there. It is shown only once."""
    body = {"zone": zone, "labels": _labels(label or []), "ttl_seconds": _seconds(ttl)}
    made = api().call("POST", "host-tokens", body)
    if json:
        output.as_json(made)
        return
    output.note(
        f"On the new machine, as root, in a checkout of this version (until {made['expires_at']}):"
    )
    typer.echo(made["command"])


@token_app.command("list")
def list_tokens(json: Json = False) -> None:
    """List the newest tokens and how each was used."""
    rows = api().get("host-tokens")["results"]
    if json:
        output.as_json(rows)
        return
    output.table(
        ("ID", "STATE", "HOST", "ZONE", "LABELS", "EXPIRES", "MADE BY"),
        [
            (
                row["id"],
                row["state"],
                row["host"],
                row["zone"],
                row["labels"],
                row["expires_at"][:16].replace("T", " "),
                row["created_by"],
            )
            for row in rows
        ],
        empty="no tokens; make one: stoa host token create",
    )


@token_app.command("revoke")
def revoke_token(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="as `stoa host token list` shows it")],
) -> None:
    """Revoke an unused token."""
    api().call("DELETE", f"host-tokens/{key_id}")
    typer.echo(f"{key_id} is revoked")


def _edit(client: Api, name: str, changes: dict[str, Any]) -> None:
    _show(client.call("PATCH", f"hosts/{name}", changes))


def _show(row: dict[str, Any]) -> None:
    def all_of(amount: dict[str, Any], write: Any) -> str:
        return (
            f"{write(amount['capacity'])}; {write(amount['reserve'])} kept back,"
            f" {write(amount['booked'])} booked, {write(amount['measured'])} measured"
        )

    output.facts(
        [
            ("name", row["name"]),
            ("state", row["state"]),
            ("seen", _seen(row)),
            ("address", f"{row['address']}, ports {row['ports'][0]}-{row['ports'][1]}"),
            ("zone", row["zone"]),
            ("engine", row["engine"]),
            ("labels", row["labels"]),
            ("shops", row["instances"]),
            ("cpu", all_of(row["cpu_millis"], cores_text)),
            ("memory", all_of(row["memory_bytes"], bytes_text)),
            ("disk", all_of(row["disk_bytes"], bytes_text)),
        ]
    )


def _booked(amount: dict[str, Any], write: Any) -> str:
    return f"{write(amount['booked'])} of {write(amount['capacity'] - amount['reserve'])}"


def _labels(words: list[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise CliError(f"label {word!r} must be KEY=VALUE", code=USAGE)
    return dict(word.split("=", 1) for word in words)


def _seconds(text: str) -> int:
    factor = {"m": 60, "h": 3600, "d": 86400}.get(text[-1:], 0)
    if not factor or not text[:-1].isdecimal():
        raise CliError(f"--ttl is {text!r}; write 30m, 24h or 7d", code=USAGE)
    return int(text[:-1]) * factor
