"""`manage.py control_settle`: makes a restored database safe to start from (`stoa control restore`)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from tenants.pool import restored_record


class Command(BaseCommand):
    """Raises counters, ends open operations and freezes everything. Run once, before any program runs."""

    help = "Make a restored record safe to start from."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--made-at: when the backup was made, for people."""
        parser.add_argument("--made-at", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """Settle it."""
        restored_record.settle(made_at=options["made_at"])
