"""`stoa tenants …`: shops."""

from typing import Annotated

import typer

from controlplane.cli import missing, operation, output
from controlplane.cli.api import api
from controlplane.cli.options import Json, Slug, Wait, Yes

app = typer.Typer(help="Shops.", no_args_is_help=True, rich_markup_mode=None)
app.command()(missing.data)


@app.command("list")
def list_tenants(
    state: Annotated[str, typer.Option(help="only those in this state")] = "",
    q: Annotated[str, typer.Option(help="the beginning of a slug")] = "",
    most: Annotated[int, typer.Option(min=1, help="how many at most")] = 200,
    json: Json = False,
) -> None:
    """List the newest shops."""
    found = api().every("tenants", state=state, q=q)
    rows = [row for row, _ in zip(found, range(most), strict=False)]
    if json:
        output.as_json(rows)
        return
    output.table(
        ("SLUG", "STATE", "PLAN", "APP", "NAME", "SINCE"),
        [
            (
                row["slug"],
                "data missing" if row.get("data_missing_since") else row["state"],
                row["plan"],
                row["app"],
                row["shop_name"],
                row["state_since"][:16].replace("T", " "),
            )
            for row in rows
        ],
        empty="no shops",
    )


@app.command()
def show(slug: Slug, json: Json = False) -> None:
    """Show one shop."""
    row = api().get(f"tenants/{slug}")
    if json:
        output.as_json(row)
        return
    names = ["slug", "shop_name", "state", "state_since", "address", "plan", "app", "id"]
    if row.get("data_missing_since"):
        names.insert(4, "data_missing_since")
    output.facts([(name.replace("_", " "), row[name]) for name in names])


@app.command()
def move(
    slug: Slug,
    to: Annotated[str, typer.Option(help="a host; default: the best one")] = "",
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Move a running shop to another host. Its visitors wait for a moment; no request fails."""
    client = api()
    asked = client.call("POST", f"tenants/{slug}/move", {"to": to})
    operation.report(client, asked["operation"]["id"], wait=wait, json=json)


@app.command()
def create(
    slug: Slug,
    email: Annotated[str, typer.Option(help="the owner's e-mail address")] = "",
    shop_name: Annotated[str, typer.Option(help="default: the slug")] = "",
    plan: Annotated[str, typer.Option()] = "starter",
    app_slug: Annotated[str, typer.Option("--app")] = "shop",
    language: Annotated[str, typer.Option(help="en or ja")] = "en",
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Sign up a shop."""
    client = api()
    body = {
        "slug": slug,
        "shop_name": shop_name or slug.title(),
        "plan": plan,
        "app": app_slug,
        "language": language,
    }
    if email:  # with a member's token the shop is that member's
        body["email"] = email
    made = client.call("POST", "tenants", body)
    operation.report(client, made["operation"]["id"], wait=wait, json=json)


@app.command()
def remove(
    slug: Slug,
    yes: Yes = False,
    wait: Wait = True,
    json: Json = False,
) -> None:
    """Remove a shop and all its data."""
    output.confirm(slug, f"this deletes the shop {slug} and all its data", yes=yes)
    client = api()
    done = client.call("DELETE", f"tenants/{slug}")
    operation.report(client, done["operation"]["id"], wait=wait, json=json)
