"""`manage.py control_thaw`: resumes the work that a restore froze. --look only shows what hosts run."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tenants.pool import restored_record


class Command(BaseCommand):
    """Lists what hosts run that the database does not know (--look), or thaws."""

    help = "Let work go on that a restore froze; --look: show what the record does not know."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--look: change nothing."""
        parser.add_argument("--look", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Show, or thaw."""
        if not options["look"]:
            if not restored_record.thaw(by="stoa control thaw"):
                raise CommandError("nothing is frozen by a restore")
            self.stdout.write("work goes on")
            return
        unknown = restored_record.unknown()
        for host, instances in unknown.items():
            self.stdout.write(f"{host}: {len(instances)} instances the record does not place there")
            self.stdout.write("".join(f"  {instance}\n" for instance in instances), ending="")
        if not unknown:
            self.stdout.write("hosts that were heard run nothing that the record does not know")
