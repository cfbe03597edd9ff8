"""`manage.py check_signup`: checks whether a sign-up would succeed now; bin/up waits on this."""

import json
import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from controlplane.monitoring import health


class Command(BaseCommand):
    """Prints part by part what a sign-up lacks; exits with 0 when nothing is missing."""

    help = "Say whether a sign-up would succeed now, part by part."

    def add_arguments(self, parser: CommandParser) -> None:
        """--wait SECONDS: ask again every 0.3 s until all is well or the time is over."""
        parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS")
        parser.add_argument(
            "--since",
            type=float,
            default=0.0,
            metavar="EPOCH",
            help="reports older than this do not count: when the programs were started",
        )
        parser.add_argument(
            "--even-frozen",
            action="store_true",
            help="report frozen placements, but do not fail because of them",
        )
        parser.add_argument("--json", action="store_true", help="print the parts as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line whenever a part's state changes. Raises CommandError when the time is over."""
        deadline = time.monotonic() + options["wait"]
        shown: dict[str, str] = {}
        while True:
            age = timedelta(seconds=max(0.0, time.time() - options["since"]))
            parts = health.signup_parts(heard_within=min(age, health.HEARD_WITHIN))
            problems = {part.name: part.problem for part in parts if not part.is_well}
            if options["even_frozen"]:
                problems.pop("freeze", None)
            if not options["json"]:
                for part in parts:
                    if shown.get(part.name) != part.problem:
                        # A problem that only counts its seconds is printed once.
                        if not (part.problem and shown.get(part.name)):
                            self.stdout.write(f"  {part.name}: {part.problem or 'ok'}")
                            self.stdout.flush()
                        shown[part.name] = part.problem
            if not problems or time.monotonic() >= deadline:
                break
            time.sleep(0.3)
        if options["json"]:
            self.stdout.write(json.dumps({part.name: part.problem or "ok" for part in parts}))
        if problems:
            sentence = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            raise CommandError(f"a sign-up would not succeed: {sentence}")
