"""Options and arguments that several commands take."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="one JSON document instead of a table")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="follow it to its end")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
Slug = Annotated[str, typer.Argument(metavar="SLUG", help="the shop's slug")]
